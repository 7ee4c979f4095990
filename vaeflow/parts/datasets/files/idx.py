"""Reading the IDX format of MNIST and its successors."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import decompressed

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


def read_idx(path: Path, *, limit: int = 1 << 30) -> np.ndarray:
    """Read an array from an IDX file, gzipped or plain.

    The header is two zero bytes, the type code, the number of dimensions, and each size as a
    big-endian 32-bit integer; the values follow, big-endian
    too. At most `limit` bytes are unpacked.

    Raises:
        DataError: if the file is missing, truncated or no IDX file.
    """
    raw = decompressed(path, limit=limit)
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] not in _TYPES:
        raise DataError(
            f"{path} starts with {raw[:4].hex() or 'nothing'}, not with an IDX header, such as "
            "00000803 of bytes with three axes: fetch the file again"
        )
    dims = raw[3]
    start = 4 + 4 * dims
    if len(raw) < start:
        raise DataError(f"{path} ends within its header: fetch the file again")
    shape = struct.unpack(f">{dims}I", raw[4:start])
    stored = np.dtype(f">{_TYPES[raw[2]]}")
    expected = int(np.prod(shape, dtype=object))
    if len(raw) - start != expected * stored.itemsize:
        held = (len(raw) - start) // stored.itemsize
        raise DataError(
            f"{path} holds {held:,} values, but its header says {expected:,} "
            f"({'×'.join(map(str, shape))}): fetch the file again"
        )
    return np.frombuffer(raw, stored, offset=start).reshape(shape)
