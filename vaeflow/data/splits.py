"""Training, validation and test data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, repr=False)
class Splits:
    """Training, validation and test data, each float32 (N, *data_shape)."""

    train: Tensor
    validation: Tensor
    test: Tensor

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.train.shape[1:])

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
