"""Arrays in a file that is mapped into memory, and their rows as tensors."""

from __future__ import annotations

import mmap
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

# Types of fewer bits than float32, which holds their values; others are kept as float32.
NARROW = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16)
_AROUND = 1 << 16  # bytes that the system maps around one that is read
_MOST = 1 << 25  # bytes of a file that are mapped at a time, about
_touched: dict[int, int] = {}  # by mapping


class Source(Protocol):
    """What NumPy's indices read (N, *data_shape): an array, one mapped from a file, or the like."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: Any) -> np.ndarray[Any, Any]: ...


def in_file(array: object) -> bool:
    """Tell whether an array lies in a file that is mapped into memory."""
    return _mapping(array) is not None


def as_kept(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array in memory as a tensor in the type in which it is kept."""
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()
    try:
        tensor = torch.from_numpy(array)
        if tensor.dtype in NARROW:
            return tensor
    except (TypeError, ValueError):  # a type, or an order of bytes, that torch lacks
        pass
    with np.errstate(all="ignore"):  # values that overflow are refused with their place later
        return torch.from_numpy(array.astype(np.float32))


def read_rows(source: Source, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return rows of a source, read in the order in which they lie there."""
    order = np.argsort(rows, kind="stable")
    found = source[rows[order]]
    release(source, len(rows) * (_AROUND + found[:1].nbytes))
    result = np.empty_like(found)
    result[order] = found
    return result


def release(source: object, touched: int) -> None:
    """Take the pages of a mapped file off the process's memory, once many may be in it.

    The system caches them as it can: reading them again costs little.

    Arguments:
        source: an array, which may be mapped.
        touched: bytes whose pages were read since the last call, at most.
    """
    mapping = _mapping(source)
    if mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    _touched[id(mapping)] = _touched.get(id(mapping), 0) + touched
    if _touched[id(mapping)] > _MOST:
        mapping.madvise(mmap.MADV_DONTNEED)
        del _touched[id(mapping)]


def _mapping(source: object) -> mmap.mmap | None:
    while isinstance(source, np.ndarray):
        source = source.base
    return source if isinstance(source, mmap.mmap) else None
