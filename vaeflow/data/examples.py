"""Data as it moves through a training and an evaluation, with what comes beside its values.

Shapes: N examples or B of a batch, C covariates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """Values of N examples, their covariates and their weights.

    It is indexed, split and moved as a tensor is, so that what is made for a tensor of data takes
    examples as well. A missing value is NaN.

    Attributes:
        x: (N, *data_shape).
        condition: (N, C), the covariates as `Covariates` takes them, or None.
        weight: (N,), with mean 1 over the training data, or None.
    """

    x: Tensor
    condition: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> torch.Size:
        """Return (N, *data_shape)."""
        return self.x.shape

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the values."""
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        """Return where the values lie."""
        return self.x.device

    def __getitem__(self, index: Any) -> Examples:
        """Return some examples, by a slice or a tensor of their indices."""
        return self._each(lambda t: t[index])

    def index_select(self, dim: int, index: Tensor) -> Examples:
        """Return the examples `index`; `dim` is 0, as for a tensor."""
        return self._each(lambda t: t.index_select(dim, index))

    def split(self, size: int) -> tuple[Examples, ...]:
        """Return the examples in batches."""
        return tuple(self[i : i + size] for i in range(0, max(1, len(self)), size))

    def to(self, device: torch.device | str) -> Examples:
        """Return the examples on a device."""
        return self._each(lambda t: t.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Examples:
        rest = (None if t is None else change(t) for t in (self.condition, self.weight))
        return Examples(change(self.x), *rest)


Data: TypeAlias = Tensor | Examples


def examples(data: Data) -> Examples:
    """Return data as examples: a tensor has neither covariates nor weights."""
    return data if isinstance(data, Examples) else Examples(data)
