"""Files that no data set reads: what they are, by their first bytes, and what to do with them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

READ = (
    "data is read from tables (.csv, .tsv, .parquet, .arrow), arrays (.npy, .npz) and folders of "
    "images"
)
_CSV = "save its sheet as CSV"
_FORMATS = (
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook", _CSV),
    (rb"SQLite format 3", "a database", "write a table of it as CSV"),
    (rb'\s*\{\s*["}]|\s*\[\s*[\[{\]]', "JSON", "write it as CSV or Parquet"),
    (rb"\s*<(!|\?|html|table)", "HTML or XML", "write it as CSV or Parquet"),
    (rb"\x89HDF", "HDF5", "write its arrays by numpy.savez"),
    (rb"\x80[\x02-\x05]", "a pickle", "write its arrays by numpy.savez, or its frame as Parquet"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM", "an image", "give the folder of the images"),
    (rb"%PDF", "a PDF", "write its table as CSV"),
)
_ENDINGS = {".xls": "an Excel workbook", ".xlsx": "an Excel workbook", ".ods": "a spreadsheet"}


def other_format(path: Path, start: bytes) -> tuple[str, str] | None:
    """Return what a file is that no data set reads, and the cure; None if that is not known.

    Arguments:
        path: the file.
        start: its first bytes.
    """
    if start[:4] == b"PK\x03\x04" and (names := _members(path)):
        if any(name.startswith("xl/") for name in names):
            return "an Excel workbook", _CSV
        if path.suffix != ".npz" and not all(name.endswith(".npy") for name in names):
            return "an archive", "unpack it, and give what is in it"
    for magic, kind, cure in _FORMATS:
        if re.match(magic, start):
            return kind, cure
    kind = _ENDINGS.get(path.suffix.lower(), "")
    return (kind, _CSV) if kind else None


def is_array(start: bytes) -> bool:
    """Tell whether a file is .npy or, if it is no other archive, .npz."""
    return start[:6] == b"\x93NUMPY" or start[:4] == b"PK\x03\x04"


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as z:
            return z.namelist()
    except (OSError, zipfile.BadZipFile):
        return []
