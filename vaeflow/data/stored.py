"""Values as they are kept, in memory or in a file, which are floats where they are read.

Shapes: N examples, B of a batch.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

CHUNK = 16 << 20  # bytes of floats that are read at a time
_AT_ONCE = 1 << 30  # bytes of floats whose mean is that of one tensor, which rounds otherwise
# Types of fewer bits than float32, which holds their values; others are kept as float32.
_NARROW = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16)


class Source(Protocol):
    """What NumPy's indices read (N, *data_shape): an array, one mapped from a file, or the like."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: Any) -> np.ndarray[Any, Any]: ...


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
            source = _tensor(source)
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
        return _tensor(np.empty(0, self.source.dtype)).dtype

    @property
    def nbytes(self) -> int:
        """Return the bytes that the values take in memory."""
        return self.shape.numel() * self.kept_dtype.itemsize

    def __getitem__(self, index: Any) -> Stored:
        """Return some examples, by a slice or by their indices; nothing is read."""
        if not isinstance(index, slice | Tensor | np.ndarray):
            raise TypeError("a slice or an array of indices chooses examples; `values` reads them")
        if isinstance(index, np.ndarray):
            index = torch.from_numpy(index)
        if isinstance(index, slice) and self.resident and self.rows is None:
            return Stored(self.source[index], self.divisor)  # a view
        rows = torch.arange(len(self)) if self.rows is None else self.rows
        index = index.to(rows.device) if isinstance(index, Tensor) else index
        return Stored(self.source, self.divisor, rows[index])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the values of the examples `index` (B,); `dim` is 0, as for a tensor."""
        return self.floats(self.kept(index))

    def kept(self, index: Tensor) -> Tensor:
        """Return the values of the examples `index` (B,) in the type in which they are kept."""
        if self.rows is not None:
            index = self.rows[index.to(self.rows.device)]
        if isinstance(self.source, Tensor):
            return self.source.index_select(0, index.to(self.source.device))
        return _tensor(_read(self.source, index.cpu().numpy()))

    def floats(self, kept: Tensor) -> Tensor:
        """Return kept values as float32, divided by the divisor."""
        x = kept.to(torch.float32)
        if self.divisor is None:
            return x
        # A tensor on the device: CUDA takes the reciprocal of a number, which rounds otherwise.
        if x.device not in self._over:
            self._over[x.device] = torch.tensor(self.divisor, dtype=x.dtype, device=x.device)
        return x.div(self._over[x.device])

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield the values, so many examples at a time."""
        for start in range(0, len(self), size):
            yield self._between(start, min(start + size, len(self)))

    def _between(self, start: int, stop: int) -> Tensor:
        if self.rows is not None:
            return self.index_select(0, torch.arange(start, stop))
        if isinstance(self.source, Tensor):
            return self.floats(self.source[start:stop])
        part = np.array(self.source[start:stop])
        _release(self.source)
        return self.floats(_tensor(part))

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
        whole = torch.empty(self.shape, dtype=self.kept_dtype, device=device)
        size = _chunk(self.shape)
        for start in range(0, len(self), size):
            index = torch.arange(start, min(start + size, len(self)))
            whole[start : start + len(index)] = self.kept(index).to(device)
        return Stored(whole, self.divisor)

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


def ends(x: Values) -> tuple[float, float]:
    """Return the smallest and the largest of the values that are numbers, at least one."""
    each = [torch.stack(_known(part).aminmax()) for _, part in chunks(x)]
    both = torch.stack(each)
    return both[:, 0].min().item(), both[:, 1].max().item()


def _known(part: Tensor) -> Tensor:
    """Return the values that are numbers, or all where none is."""
    missing = part.isnan()
    return part[~missing] if missing.any() and not missing.all() else part


def has_gaps(x: Values) -> bool:
    """Tell whether a value is NaN."""
    return any(bool(part.isnan().any()) for _, part in chunks(x))


def mean(x: Values) -> Tensor:
    """Return the mean of the examples, (*data_shape), of large data in float64 chunk by chunk.

    It is of the values that are numbers, and 0 where none is.
    """
    if isinstance(x, Tensor) or 4 * x.shape.numel() <= _AT_ONCE:
        whole = floats(x)
        return whole.nanmean(0).nan_to_num() if whole.isnan().any() else whole.mean(0)
    sums = [part.double().nansum(0) for _, part in chunks(x)]
    counts = [(~part.isnan()).sum(0) for _, part in chunks(x)]
    return (torch.stack(sums).sum(0) / torch.stack(counts).sum(0).clamp(min=1)).float()


def in_file(array: object) -> bool:
    """Tell whether an array lies in a file that is mapped into memory."""
    return _mapping(array) is not None


def _chunk(shape: torch.Size) -> int:
    return max(1, CHUNK // (4 * max(1, shape[1:].numel())))


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array in memory as a tensor in the type in which it is kept."""
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()
    try:
        tensor = torch.from_numpy(array)
        if tensor.dtype in _NARROW:
            return tensor
    except (TypeError, ValueError):  # a type, or an order of bytes, that torch lacks
        pass
    with np.errstate(all="ignore"):  # values that overflow are refused with their place later
        return torch.from_numpy(array.astype(np.float32))


def _read(source: Source, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return rows of a source, read in the order in which they lie there."""
    order = np.argsort(rows, kind="stable")
    found = source[rows[order]]
    _release(source)
    result = np.empty_like(found)
    result[order] = found
    return result


def _release(source: object) -> None:
    """Take pages of a mapped file off the process's memory; the system caches them as it can."""
    mapping = _mapping(source)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(source: object) -> mmap.mmap | None:
    while isinstance(source, np.ndarray):
        source = source.base
    return source if isinstance(source, mmap.mmap) else None
