"""Data as it moves through a training and an evaluation, with what comes beside its values.

Shapes: N examples or B of a batch, C covariates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from vaeflow.data.stored import Values, floats


@dataclass(frozen=True, eq=False)
class Examples:
    """Values of N examples, their covariates and their weights.

    It is indexed, split and moved as a tensor is, so that what is made for a tensor of data takes
    examples as well. A missing value is NaN.

    Attributes:
        x: (N, *data_shape), floats or as they are kept: `values` reads them.
        condition: (N, C), the covariates as `Covariates` takes them, or None.
        weight: (N,), with mean 1 over the training data, or None.
    """

    x: Values
    condition: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def values(self) -> Tensor:
        """Return the values as floats."""
        return floats(self.x)

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

    def __getitem__(self, index: slice | Tensor) -> Examples:
        """Return some examples, by a slice or a tensor of their indices."""
        condition, weight = (None if t is None else t[index] for t in self._rest)
        return Examples(self.x[index], condition, weight)

    def index_select(self, dim: int, index: Tensor) -> Examples:
        """Return the examples `index`, read as floats; `dim` is 0, as for a tensor."""
        condition, weight = (None if t is None else t.index_select(dim, index) for t in self._rest)
        return Examples(self.x.index_select(dim, index), condition, weight)

    def split(self, size: int) -> Iterator[Examples]:
        """Yield the examples in batches, read as floats."""
        for start in range(0, len(self), size):
            yield self[start : start + size].read()

    def to(self, device: torch.device | str) -> Examples:
        """Return the examples on a device."""
        condition, weight = (None if t is None else t.to(device) for t in self._rest)
        return Examples(self.x.to(device), condition, weight)

    def read(self) -> Examples:
        """Return the examples with their values as one tensor of floats."""
        return Examples(self.values, *self._rest)

    def tensors(self, name: str = "x") -> dict[str, Tensor]:
        """Return the tensors by name, such as "x" and "x.condition"."""
        beside = {"condition": self.condition, "weight": self.weight}
        more = {f"{name}.{key}": t for key, t in beside.items() if t is not None}
        return {name: self.values, **more}

    @property
    def _rest(self) -> tuple[Tensor | None, Tensor | None]:
        return self.condition, self.weight


Data: TypeAlias = Values | Examples
Rows = TypeVar("Rows", bound=Data)  # of which some are taken


def as_examples(data: Data) -> Examples:
    """Return data as examples: values alone have neither covariates nor weights."""
    return data if isinstance(data, Examples) else Examples(data)
