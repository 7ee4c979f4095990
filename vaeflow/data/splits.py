"""Training, validation and test data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from vaeflow.data.places import Place, by_index


@dataclass(frozen=True, repr=False)
class Splits:
    """Training, validation and test data, each float32 (N, *data_shape).

    `places` says how messages call a value of "train", "validation" or "test"; by default by its
    index in the split.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    places: Mapping[str, Place] = field(default_factory=dict, kw_only=True)

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
