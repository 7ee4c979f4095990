"""Dropout that drops the same entries each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vaeflow.testing.noise import arguments_of


class FixedDropout(TorchFunctionMode):
    """Inside this context, the n-th dropout drops the same entries for every row, and every time.

    A training step with dropout is then a function of the noise, as an evaluation is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not torch.nn.functional.dropout:
            return func(*args, **(kwargs or {}))
        x, p, training, *_ = arguments_of(args, kwargs or {}, input=0, p=0.5, training=True)
        if not training:
            return x
        self.calls += 1
        kept = (torch.arange(x.shape[-1], device=x.device) + self.calls) % 4 != 1  # not a quarter
        return x * kept / (1 - p)


def fixed_dropout(module: nn.Module) -> AbstractContextManager[object]:
    """Return a `FixedDropout` for a module in training, else a context that does nothing."""
    return FixedDropout() if module.training else nullcontext()
