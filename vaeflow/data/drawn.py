"""Values that are drawn once from others, the same at each reading, and never all in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.stored import CHUNK, Stored

Draw = Callable[[Tensor, torch.Generator], Tensor]


class Drawn:
    """A source whose values are draws from the values of another, in one stream from its start.

    The state of the generator is kept at the begin of each block of examples, so that any of them
    can be drawn again. The stream is that of one draw from all values at once.

    Arguments:
        x: the values that are drawn from.
        draw: maps values (B, *data_shape) to draws of the same shape.
        seed: of the stream.
        dtype: in which the draws are kept; whole numbers are 0 and 1.

    Attributes:
        ends: the smallest and the largest draw, where they are known, or None.
    """

    def __init__(self, x: Stored, draw: Draw, seed: int, dtype: type[np.generic]) -> None:
        self.shape = tuple(x.shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.ends = (0, 1) if self.dtype.kind == "u" else None
        self._x = x
        self._draw = draw
        self._size = max(1, CHUNK // (4 * max(1, x.shape[1:].numel())))
        first = torch.Generator().manual_seed(seed).get_state()
        # In one tensor: small ones between large ones that are freed would break the heap up.
        self._states = first.new_empty(len(x) // self._size + 2, len(first))
        self._states[0] = first
        self._known = 1  # states
        self._last: tuple[int, np.ndarray[Any, Any]] = (-1, np.empty(0))

    def __getitem__(self, rows: Any) -> np.ndarray[Any, Any]:
        """Return the draws of some examples, chosen by a slice or by an array of indices."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.shape[0]))
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        blocks = rows // self._size
        for block in np.unique(blocks).tolist():
            here = blocks == block
            found[here] = self._block(block)[rows[here] % self._size]
        return found

    def _block(self, number: int) -> np.ndarray[Any, Any]:
        if self._last[0] != number:
            for before in range(self._known - 1, number):
                self._take(before)
            self._last = number, self._take(number)
        return self._last[1]

    def _take(self, number: int) -> np.ndarray[Any, Any]:
        """Draw a block, whose state is known, and keep the state at its end."""
        generator = torch.Generator()
        generator.set_state(self._states[number].clone())
        start = number * self._size
        index = torch.arange(start, min(start + self._size, self.shape[0]))
        drawn = self._draw(self._x.index_select(0, index), generator)
        if number + 1 == self._known:
            self._states[self._known] = generator.get_state()
            self._known += 1
        return drawn.numpy().astype(self.dtype)
