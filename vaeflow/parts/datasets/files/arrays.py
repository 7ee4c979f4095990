"""Named arrays from .npy and .npz files, IDX and MATLAB files: the bytes tell the format."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np

from vaeflow.data.telling import log
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.idx import read_idx
from vaeflow.parts.datasets.files.matlab import read_all
from vaeflow.parts.datasets.files.others import READ, other_format
from vaeflow.parts.datasets.files.unpacking import reason

_ZIP = (b"PK\3\4", b"PK\5\6")  # an archive, and an empty one


def read_arrays(path: Path, *, limit: int) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name; an only array has the name of the file.

    Arguments:
        path: the file; of IDX and MATLAB it may be gzipped.
        limit: bytes that it may unpack to.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        magic = _start(path)
        if other := other_format(path, magic):
            raise DataError(f"{path} is {other[0]}, which is not read: {other[1]}; {READ}")
        if magic[:6] == b"\x93NUMPY":
            # Mapped, so that a header that promises more than the file holds fails at once.
            return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
        if magic[:4] in _ZIP:
            return _npz(path, limit)
        if magic[:2] == b"\0\0" and magic[2:3] != b"\0":
            return _idx(path, limit)
        if magic[126:128] in (b"IM", b"MI") or path.suffix == ".mat":
            return read_all(path, limit=limit)
        told = f"it starts with {magic[:6]!r}" if magic else "it is empty"
        raise DataError(
            f"{path} is not a readable .npy or .npz file of numbers ({told}): write it with "
            f"numpy.save or numpy.savez; {READ}"
        )
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on a damaged file
        cure = "write it with numpy.save or numpy.savez"
        if "Object arrays" in str(error):
            cure = "convert objects first, texts by astype(str) and numbers by astype('float32')"
        raise DataError(
            f"{path} is not a readable .npy or .npz file of numbers ({reason(error)}): {cure}"
        ) from None


def _start(path: Path) -> bytes:
    """Return the first 128 bytes, unpacked if the file is gzipped."""
    with open(path, "rb") as f:
        start = f.read(128)
    if start[:2] != b"\x1f\x8b":
        return start
    with gzip.open(path) as packed:
        return packed.read(128)


def _idx(path: Path, limit: int) -> dict[str, np.ndarray]:
    """Return the array of an IDX file, and the labels beside it that are called as MNIST's are."""
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels == path or not labels.is_file():
        return {path.stem: read_idx(path, limit=limit)}
    log.info("labels are taken from %s", labels)
    return {"images": read_idx(path, limit=limit), "labels": read_idx(labels, limit=limit)}


def _npz(path: Path, limit: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as z:
        size = sum(member.file_size for member in z.infolist())
    if size > limit:
        raise DataError(
            f"{path} unpacks to {size:,} bytes, but at most {limit:,} are read: store float32 or "
            "uint8, or fewer examples"
        )
    with np.load(path, allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in npz.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its member {name!r} is no array")
    return arrays
