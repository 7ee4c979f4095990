"""Arrays of numbers from MATLAB files, and pictures in MATLAB's layout.

scipy.io.loadmat is not used, because a damaged file can crash the process in it.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import decompressed, reason

_ORDERS = {b"IM": "<", b"MI": ">"}  # the header's mark MI, in each order of bytes
_PREFIX = 4096  # bytes enough for an array's flags, sizes and name
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX, _LOGICAL = 0x800, 0x200
_STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_KINDS = {
    1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single",
    8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32", 14: "int64",
    15: "uint64",
}  # fmt: skip
_NUMBERS = frozenset(_KINDS[i] for i in range(6, 16)) | {"logical"}
_KINDS_4 = (("double", "f8"), ("single", "f4"), ("int32", "i4"), ("int16", "i2"), ("uint16", "u2"),
            ("uint8", "u1"))  # fmt: skip


@dataclass(frozen=True)
class _Array:
    name: str
    shape: tuple[int, ...]
    kind: str
    values: Callable[[], np.ndarray]  # called only if name, shape and kind are right


def read_mat(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    largest: float,
    kinds: Collection[str] = _NUMBERS,
    limit: int = 1 << 30,
) -> dict[str, np.ndarray]:
    """Read the arrays that `shapes` names, with values in [0, largest], from a MATLAB file.

    Versions 4 to 7 are read, in both orders of bytes; version 7.3 is HDF5, and is refused. Values
    are unpacked only if name, shape and kind are right.

    Arguments:
        path: the file, which may be gzipped.
        shapes: the names of the arrays, and their shapes.
        largest: the largest value; the smallest is 0.
        kinds: MATLAB's types to accept, such as "uint8"; by default all of real numbers.
        limit: bytes that the file may unpack to.

    Raises:
        DataError: if the file is missing, damaged, larger than `limit` or holds other arrays.
    """
    raw = memoryview(decompressed(path, limit=limit))
    try:
        found = {array.name: array for array in _arrays(raw)}
        _compare(path, found, shapes, kinds)
        arrays = {name: found[name].values() for name in shapes}
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path} is not a readable MATLAB file ({reason(error)}): fetch the file again"
        ) from None
    for name, array in arrays.items():
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= largest):  # NaN fails, too
            raise DataError(
                f"{path}: {name} has values from {low:g} to {high:g}, but [0, {largest:g}] is "
                "expected: fetch the file again"
            )
    return arrays


def read_all(path: Path, *, limit: int = 1 << 30) -> dict[str, np.ndarray]:
    """Read every array of real numbers from a MATLAB file.

    Raises:
        DataError: if the file is missing, damaged, larger than `limit` or holds other values.
    """
    raw = memoryview(decompressed(path, limit=limit))
    try:
        found = [array for array in _arrays(raw) if array.name.isidentifier()]  # others are its own
        if other := next((array for array in found if array.kind not in _NUMBERS), None):
            raise DataError(
                f"{path}: {other.name} is a {other.kind}, but numbers are needed: save the others "
                "alone, as in save('x.mat', 'X', 'y')"
            )
        return {array.name: array.values() for array in found}
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path} is not a readable MATLAB file ({reason(error)}): save it with -v7, or as .npz"
        ) from None


def upright(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return pictures (N, height, width) of rows (N, height·width) stored column by column."""
    return rows.reshape(-1, width, height).transpose(0, 2, 1)


def _compare(
    path: Path,
    found: Mapping[str, _Array],
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Collection[str],
) -> None:
    for name, shape in shapes.items():
        if name not in found:
            names = ", ".join(sorted(filter(str.isidentifier, found)))  # others are MATLAB's own
            raise DataError(
                f"{path} holds {names or 'no array'}, but {name} is needed: fetch the file again"
            )
        array = found[name]
        if array.shape != shape or array.kind not in kinds:
            wanted = "numbers" if kinds is _NUMBERS else " or ".join(kinds)
            raise DataError(
                f"{path}: {name} is {_by(array.shape)} {array.kind}, but {_by(shape)} {wanted} is "
                "needed: fetch the file again"
            )


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _arrays(raw: memoryview) -> Iterator[_Array]:
    """Yield the arrays of a file, which is of version 4 if its first four bytes hold a zero."""
    if 0 in raw[:4]:
        yield from _arrays_4(raw)
        return
    order = _ORDERS.get(bytes(raw[126:128]))
    if order is None:
        raise ValueError("it does not start like one")
    (version,) = struct.unpack(f"{order}H", raw[124:126])
    if version != 0x100:
        raise ValueError("it is of version 7.3 or later, not of 4 to 7")
    for kind, data in _elements(raw[128:], order):
        if kind == _COMPRESSED:
            yield _array(partial(_unpacked, data), order)
        elif kind == _MATRIX and data:
            yield _array(partial(_whole, data), order)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the bytes of each element; elements fill multiples of eight bytes."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # type and size take two bytes each, and up to four bytes of data follow
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        end = start + size
        if end > len(data) or (start == at + 4 and size > 4):
            raise ValueError(f"it ends within an element of {size:,} bytes")
        yield kind, data[start:end]
        at = end if kind == _COMPRESSED else end + -end % 8


def _whole(data: memoryview, limit: int, *, to_the_end: bool) -> memoryview:
    return data[:limit]


def _unpacked(data: memoryview, limit: int, *, to_the_end: bool) -> memoryview:
    """Unpack at most `limit` bytes of an array, without its tag."""
    unpacker = zlib.decompressobj()
    raw = memoryview(unpacker.decompress(data, limit + 8))
    if to_the_end and not unpacker.eof:
        raise ValueError("it holds packed values without their end")
    return raw[8:]


def _array(take: Callable[..., memoryview], order: str) -> _Array:
    """Read the flags, the sizes and the name of an array, which stand before its values."""
    head = [data for _, data in islice(_elements(take(_PREFIX, to_the_end=False), order), 3)]
    if len(head) < 3:
        raise ValueError("it ends within an array's header")
    (flags,) = struct.unpack_from(f"{order}I", head[0])
    shape = struct.unpack(f"{order}{len(head[1]) // 4}i", head[1])
    kind = "logical" if flags & _LOGICAL else _KINDS.get(flags & 0xFF, "unknown")
    kind = f"complex {kind}" if flags & _COMPLEX else kind

    def values() -> np.ndarray:
        # A number takes eight bytes at most; a damaged file may hold more, which stays packed.
        data = take(8 * math.prod(shape) + _PREFIX, to_the_end=True)
        for stored, numbers in islice(_elements(data, order), 3, 4):
            return _numbers(numbers, order + _STORED.get(stored, "V1"), shape)
        raise ValueError("it holds an array without values")

    return _Array(bytes(head[2]).decode("latin-1"), shape, kind, values)


def _arrays_4(raw: memoryview) -> Iterator[_Array]:
    order = "<" if struct.unpack_from("<I", raw)[0] < 5000 else ">"  # MOPT, four decimal digits
    at = 0
    while at < len(raw):
        mode, rows, columns, imaginary, length = struct.unpack_from(f"{order}5I", raw, at)
        if mode % 10 or imaginary or mode // 10 % 10 >= len(_KINDS_4):
            raise ValueError("it holds other than plain numbers")
        kind, stored = _KINDS_4[mode // 10 % 10]
        start = at + 20 + length
        name = bytes(raw[at + 20 : start]).rstrip(b"\0").decode("latin-1")
        if not name:
            raise ValueError("it holds an array without a name")
        at = start + rows * columns * np.dtype(stored).itemsize
        shape = (rows, columns)
        yield _Array(name, shape, kind, partial(_numbers, raw[start:at], order + stored, shape))


def _numbers(data: memoryview, stored: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the numbers as an array; MATLAB stores them column by column."""
    if len(data) != math.prod(shape) * np.dtype(stored).itemsize or "V" in stored:
        raise ValueError(f"it holds {len(data):,} bytes for {_by(shape)} values")
    return np.frombuffer(data, stored).reshape(shape, order="F")
