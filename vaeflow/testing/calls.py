"""Whether a function gives the same values however it is called."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vaeflow.testing.probes import close

_CALLS = 300


def same_in_every_call(value: Callable[[], Tensor], what: str, calls: int = _CALLS) -> None:
    """Raise AssertionError unless so many calls give the same value."""
    with torch.no_grad():
        first = value()
        for i in range(2, calls + 2):
            close(value(), first, f"in call {i} with the same input, {what}", 1e-12)


def same_without_gradients(value: Callable[[], Tensor], what: str) -> None:
    """Raise AssertionError unless a value is the same in torch's modes without gradients."""
    wanted = value().detach()
    with torch.no_grad():
        close(value(), wanted, f"under torch.no_grad, {what}", 1e-12)
    with torch.inference_mode():
        seen = value().clone()
    close(seen, wanted, f"under torch.inference_mode, {what}", 1e-12)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """Return the same values in other places of memory, by the words that tell where."""
    flipped = x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim())))
    return {
        "transposed": flipped,
        "every other number": x.repeat_interleave(2, -1)[..., ::2],
        "a part of a larger tensor": torch.cat([x, x])[len(x) :],
    }
