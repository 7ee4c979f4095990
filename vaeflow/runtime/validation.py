"""torch's check of the arguments of distributions, switched off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


class _Switch:
    """How many blocks hold the check off, in whichever threads, and how it was before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks = 0
        self.before = True


_SWITCH = _Switch()


@contextmanager
def no_validation() -> Iterator[None]:
    """Switch off torch's check of every distribution's arguments: a wait for the device in each.

    The switch is the process's own: the last of the blocks that overlap turns it back.
    """
    with _SWITCH.lock:
        if not _SWITCH.blocks:
            _SWITCH.before = Distribution._validate_args
        _SWITCH.blocks += 1
        Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        with _SWITCH.lock:
            _SWITCH.blocks -= 1
            if not _SWITCH.blocks:
                Distribution.set_default_validate_args(_SWITCH.before)


@contextmanager
def validation_kept() -> Iterator[None]:
    """Put the check back as it was: importing zuko turns it off, importing Pyro turns it on."""
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
