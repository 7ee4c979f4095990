"""torch's check of the arguments of distributions, switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


@contextmanager
def no_validation() -> Iterator[None]:
    """Switch off torch's check of each distribution's arguments, which waits for the device."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
