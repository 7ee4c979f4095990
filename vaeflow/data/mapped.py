"""Arrays in a file that is mapped into memory, and their rows as tensors."""

from __future__ import annotations

import mmap
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

# Types of fewer bits than float32, which holds their values; others are kept as float32.
NARROW = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16)


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
    release(source)
    result = np.empty_like(found)
    result[order] = found
    return result


def release(source: object) -> None:
    """Take pages of a mapped file off the process's memory; the system caches them as it can."""
    mapping = _mapping(source)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(source: object) -> mmap.mmap | None:
    while isinstance(source, np.ndarray):
        source = source.base
    return source if isinstance(source, mmap.mmap) else None
