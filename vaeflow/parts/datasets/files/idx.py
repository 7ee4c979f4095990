"""Reading the IDX format of MNIST and its successors."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import decompressed

_UBYTE = 0x08


def read_idx(path: Path, *, limit: int = 1 << 30) -> np.ndarray:
    """Read an array of unsigned bytes from an IDX file, gzipped or plain.

    The header is two zero bytes, the type code, the number of dimensions, and each size as a
    big-endian 32-bit integer; the values follow. At most `limit` bytes are unpacked.

    Raises:
        DataError: if the file is missing, truncated or of another type.
    """
    raw = decompressed(path, limit=limit)
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] != _UBYTE:
        raise DataError(
            f"{path} starts with {raw[:4].hex() or 'nothing'}, not with an IDX header of unsigned "
            "bytes (000008..): fetch the file again"
        )
    dims = raw[3]
    start = 4 + 4 * dims
    if len(raw) < start:
        raise DataError(f"{path} ends within its header: fetch the file again")
    shape = struct.unpack(f">{dims}I", raw[4:start])
    expected = int(np.prod(shape, dtype=object))
    if len(raw) - start != expected:
        raise DataError(
            f"{path} holds {len(raw) - start:,} values, but its header says {expected:,} "
            f"({'×'.join(map(str, shape))}): fetch the file again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
