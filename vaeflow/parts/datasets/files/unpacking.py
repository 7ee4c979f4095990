"""Unpacking within a limit, and the reason of an error in short."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from vaeflow.errors import DataError


def decompressed(path: Path, *, limit: int = 1 << 30) -> bytes:
    """Return the bytes of a file, unpacked if it is gzipped.

    Raises:
        DataError: if the file cannot be read, or unpacks to more than `limit` bytes.
    """
    pieces, left = [], limit
    try:
        with open(path, "rb") as f:
            zipped = f.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else open(path, "rb") as f:
            # In pieces: read(limit) would allocate `limit` bytes for the smallest file.
            while left >= 0 and (piece := f.read(1 << 20)):
                pieces.append(piece)
                left -= len(piece)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check --data-root or $VAEFLOW_DATA") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): fetch the file again") from None
    if left < 0:
        raise DataError(f"{path} unpacks to more than {limit:,} bytes: it is no file of this set")
    return b"".join(pieces)


def reason(error: BaseException) -> str:
    """Return the first sentence of a library's message, to be quoted within another sentence."""
    return " ".join(str(error).split(". ")[0].split()).rstrip(".") or type(error).__name__
