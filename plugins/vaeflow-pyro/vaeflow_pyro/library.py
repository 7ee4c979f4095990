"""Pyro, imported without its side effect: everything here gets it from this module.

`import pyro` switches the argument validation of torch's distributions on for the whole process; it
is put back as it was.
"""

from __future__ import annotations

from torch.distributions import Distribution

_before = Distribution._validate_args

import pyro.distributions as dist  # type: ignore[import-untyped]  # noqa: E402

Distribution.set_default_validate_args(_before)

__all__ = ["dist"]
