"""In which surroundings a density is computed: under autocast, or recorded as a program."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leave autocast within the block, where it is on for the device of x."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def recorded() -> bool:
    """Tell whether torch records what is computed: torch.export, or torch.jit.trace.

    Neither keeps the backward pass of an `autograd.Function`.
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
