"""Training, validation and test data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from vaeflow.data.columns import Columns
from vaeflow.data.places import Place, by_index


@dataclass(frozen=True, repr=False)
class Splits:
    """Training, validation and test data, each float32 (N, *data_shape).

    What is not known of the data is empty.

    Attributes:
        places: "train", "validation" or "test" -> how messages call a value of the split; by
            default by its index.
        columns: of a table, how their values became the numbers of x.
        labels: split -> name -> values (N,) that are no part of x: numbers with NaN, or texts with
            None, where one is missing. `--condition` chooses covariates among labels and columns.
        weights: split -> the weight of each example (N,), at least 0.
        gaps: whether NaN stands for a missing value; otherwise it is refused.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    places: Mapping[str, Place] = field(default_factory=dict, kw_only=True)
    columns: Columns = field(default_factory=Columns, kw_only=True)
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict, kw_only=True)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, kw_only=True)
    gaps: bool = field(default=False, kw_only=True)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.train.shape[1:])

    def place(self, split: str) -> Place:
        """Return how messages call a value of a split."""
        return self.places.get(split) or by_index("training" if split == "train" else split)

    def __repr__(self) -> str:
        sizes = f"validation ({len(self.validation)}, …), test ({len(self.test)}, …)"
        ends = [end.item() for _, x in self if x.numel() for end in x.aminmax()]
        within = f", values in [{min(ends):g}, {max(ends):g}]" if ends else ""
        return f"Splits(train {tuple(self.train.shape)}, {sizes}{within})"

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        yield from (("train", self.train), ("validation", self.validation), ("test", self.test))

    def fingerprint(self) -> str:
        """Return the SHA-256 of all values and shapes, to recognize the data on resume."""
        digest = hashlib.sha256()
        for name, x in self:
            digest.update(f"{name}{tuple(x.shape)}".encode())
            digest.update(x.contiguous().numpy().data)
        return digest.hexdigest()
