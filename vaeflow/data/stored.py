"""Values as they are kept, in memory or in a file, which are floats where they are read.

Shapes: N examples, B of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.mapped import Source, as_kept, in_file, read_rows, release

CHUNK = 2 << 20  # bytes of floats that are read at a time
_AT_ONCE = 1 << 30  # bytes of floats whose mean is that of one tensor, which rounds otherwise


class Stored:
    r"""Values x (N, *data_shape) that are kept in a type of their own, whole or in a file.

    .. math:: x = \mathrm{float32}(\mathrm{kept}) / \mathrm{float32}(\mathrm{divisor})

    Images of 8 bits take a quarter of the memory so. Indices and slices choose examples and read
    nothing. `index_select`, `split` and `values` read floats, the same bits wherever they lie.

    Arguments:
        source: a tensor, or what NumPy's indices read, such as an array mapped from a file.
        divisor: by which all values are divided, or None.
        rows: the examples of the source, in their order; None for all.
    """

    dtype = torch.float32

    def __init__(
        self, source: Tensor | Source, divisor: float | None = None, rows: Tensor | None = None
    ) -> None:
        if isinstance(source, np.ndarray) and not in_file(source):
            source = as_kept(source)
        self.source = source
        self.divisor = None if divisor == 1 else divisor
        self.rows = rows
        self._over: dict[torch.device, Tensor] = {}

    def __len__(self) -> int:
        return self.source.shape[0] if self.rows is None else len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """Return (N, *data_shape)."""
        return torch.Size((len(self), *self.source.shape[1:]))

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.source.shape)

    @property
    def device(self) -> torch.device:
        """Return where the values lie; a file counts as main memory."""
        return self.source.device if isinstance(self.source, Tensor) else torch.device("cpu")

    @property
    def resident(self) -> bool:
        """Tell whether the values are in memory."""
        return isinstance(self.source, Tensor)

    @property
    def kept_dtype(self) -> torch.dtype:
        """Return the type in which the values are kept in memory."""
        if isinstance(self.source, Tensor):
            return self.source.dtype
        return as_kept(np.empty(0, self.source.dtype)).dtype

    @property
    def nbytes(self) -> int:
        """Return the bytes that the values take in memory."""
        return self.shape.numel() * self.kept_dtype.itemsize

    def __getitem__(self, index: slice | Tensor | np.ndarray) -> Stored:
        """Return some examples, by a slice or by their indices; nothing is read."""
        if not isinstance(index, slice | Tensor | np.ndarray):
            raise TypeError("a slice or an array of indices chooses examples; `values` reads them")
        if isinstance(index, np.ndarray):
            index = torch.from_numpy(index)
        if isinstance(index, slice) and self.resident and self.rows is None:
            return Stored(self.source[index], self.divisor)  # a view
        if isinstance(index, Tensor):
            index = index.nonzero()[:, 0] if index.dtype is torch.bool else index
            index = torch.where(index < 0, index + len(self), index)
            rows = index if self.rows is None else self.rows[index.to(self.rows.device)]
        elif self.rows is None:
            rows = torch.arange(*index.indices(len(self)))
        else:
            rows = self.rows[index]
        return Stored(self.source, self.divisor, rows)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the values of the examples `index` (B,); `dim` is 0, as for a tensor."""
        return self.floats(self.kept(index))

    def kept(self, index: Tensor) -> Tensor:
        """Return the values of the examples `index` (B,) in the type in which they are kept."""
        if self.rows is not None:
            index = self.rows[index.to(self.rows.device)]
        if isinstance(self.source, Tensor):
            return self.source.index_select(0, index.to(self.source.device))
        return as_kept(read_rows(self.source, index.cpu().numpy()))

    def floats(self, kept: Tensor) -> Tensor:
        """Return kept values as float32, divided by the divisor."""
        x = kept.to(torch.float32)
        if self.divisor is None:
            return x
        # A tensor on the device: CUDA takes the reciprocal of a number, which rounds otherwise.
        if x.device not in self._over:
            self._over[x.device] = torch.tensor(self.divisor, dtype=x.dtype, device=x.device)
        over = self._over[x.device]
        return x.div(over) if x is kept else x.div_(over)

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield the values, so many examples at a time."""
        for start in range(0, len(self), size):
            yield self.floats(self._between(start, min(start + size, len(self))))

    def _between(self, start: int, stop: int) -> Tensor:
        if self.rows is not None:
            return self.kept(torch.arange(start, stop))
        if isinstance(self.source, Tensor):
            return self.source[start:stop]
        part = np.array(self.source[start:stop])
        release(self.source, part.nbytes)
        return as_kept(part)

    def values(self) -> Tensor:
        """Return all values as one tensor of float32."""
        x = torch.empty(self.shape, dtype=torch.float32, device=self.device)
        for start, rows in chunks(self):
            x[start : start + len(rows)] = rows
        return x

    def to(self, device: torch.device | str) -> Stored:
        """Return the values in the memory of a device, in the type in which they are kept."""
        if isinstance(self.source, Tensor) and self.rows is None:
            return Stored(self.source.to(device), self.divisor)
        whole, done = torch.empty(self.shape, dtype=self.kept_dtype, device=device), 0
        for part in self.kept_parts():
            whole[done : done + len(part)] = part.to(device)
            done += len(part)
        return Stored(whole, self.divisor)

    @property
    def levels(self) -> Tensor | None:
        """Return the values that whole numbers within the ends stand for, or None of others."""
        if self.kept_dtype.is_floating_point or self.kept_dtype is torch.int16:
            return None
        low, high, _ = self._kept_extent
        return self.floats(torch.arange(int(low), int(high) + 1))

    @property
    def extent(self) -> Extent:
        """Return the ends of the values, and whether NaN is among them."""
        low, high, gaps = self._kept_extent
        first, last = self.floats(torch.tensor([low, high], dtype=torch.float32)).tolist()
        return Extent(first, last, gaps)

    @cached_property
    def _kept_extent(self) -> Extent:
        if (known := getattr(self.source, "ends", None)) is not None:
            low, high = known
            return Extent(low, high, False)
        each = [_extent(part) for part in self.in_order()[0].kept_parts()]
        low, high, gaps = zip(*each, strict=True)
        lows = [a for a in low if not math.isnan(a)] or [math.nan]
        highs = [b for b in high if not math.isnan(b)] or [math.nan]
        return Extent(min(lows), max(highs), any(gaps))

    def in_order(self) -> tuple[Stored, Tensor | None]:
        """Return the examples in the order in which a file holds them, and the index of each.

        A file is read several times faster from its begin to its end.
        """
        if self.rows is None or self.resident:
            return self, None
        order = self.rows.argsort()
        return Stored(self.source, self.divisor, self.rows[order]), order

    def kept_parts(self) -> Iterator[Tensor]:
        """Yield the values in the type in which they are kept, part by part."""
        size = _chunk(self.shape)
        for start in range(0, len(self), size):
            yield self._between(start, min(start + size, len(self)))

    def __repr__(self) -> str:
        over = f" over {self.divisor:g}" if self.divisor else ""
        where = self.device if self.resident else "in a file"
        return f"Stored({tuple(self.shape)}, {self.kept_dtype}{over}, {where})"


Values: TypeAlias = Tensor | Stored


def floats(x: Values) -> Tensor:
    """Return values as one tensor."""
    return x.values() if isinstance(x, Stored) else x


def chunks(x: Values) -> Iterator[tuple[int, Tensor]]:
    """Yield the index of the first example of each part of x, and the part; a tensor is one."""
    if isinstance(x, Tensor):
        yield 0, x
        return
    size = _chunk(x.shape)
    for i, part in enumerate(x.split(size)):
        yield i * size, part


class Extent(NamedTuple):
    """The smallest and the largest value that are numbers, and whether there are others."""

    low: float
    high: float
    gaps: bool


def _extent(part: Tensor) -> Extent:
    if not part.is_floating_point():
        low, high = part.to(torch.uint8 if part.dtype is torch.bool else part.dtype).aminmax()
        return Extent(low.item(), high.item(), False)
    missing = part.isnan()
    gaps = bool(missing.any())
    low, high = (part[~missing] if gaps and not missing.all() else part).aminmax()
    return Extent(low.item(), high.item(), gaps)


def extent(x: Values) -> Extent:
    """Return the ends of the values, NaN of none, and whether NaN is among them."""
    if not x.shape.numel():
        return Extent(math.nan, math.nan, False)
    return x.extent if isinstance(x, Stored) else _extent(x)


def ends(x: Values) -> tuple[float, float]:
    """Return the smallest and the largest of the values that are numbers, at least one."""
    return extent(x)[:2]


def has_gaps(x: Values) -> bool:
    """Tell whether a value is NaN."""
    return extent(x).gaps


def mean(x: Values) -> Tensor:
    """Return the mean of the examples, (*data_shape), of large data in float64 chunk by chunk.

    It is of the values that are numbers, and 0 where none is.
    """
    if isinstance(x, Tensor) or 4 * x.shape.numel() <= _AT_ONCE:
        whole = floats(x)
        return whole.nanmean(0).nan_to_num() if whole.isnan().any() else whole.mean(0)
    total = torch.zeros(x.shape[1:], dtype=torch.float64)
    count = torch.zeros(x.shape[1:])
    for _, part in chunks(x.in_order()[0]):
        total += part.double().nansum(0).cpu()
        count += (~part.isnan()).sum(0).cpu()
    return (total / count.clamp(min=1)).float()


def _chunk(shape: torch.Size) -> int:
    return max(1, CHUNK // (4 * max(1, shape[1:].numel())))
