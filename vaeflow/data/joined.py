"""Values that stand one behind the other, each where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.stored import Stored, Values, floats


class _Joined:
    """A source of the examples of several, one behind the other."""

    dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, parts: Sequence[Values]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __getitem__(self, rows: Any) -> np.ndarray[Any, Any]:
        """Return some examples, chosen by a slice or by an array of their indices."""
        rows = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else rows
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of = np.searchsorted(self._starts, rows, "right") - 1
        for i in np.unique(of).tolist():
            index = torch.from_numpy(rows[of == i] - self._starts[i])
            found[of == i] = self._parts[i].index_select(0, index).numpy()
        return found


def joined(parts: Sequence[Values]) -> Values:
    """Return the examples of all parts; what lies in a file stays there."""
    if all(isinstance(part, Tensor) or part.resident for part in parts):
        return torch.cat([floats(part) for part in parts])
    return parts[0] if len(parts) == 1 else Stored(_Joined(parts))
