"""Tables from CSV, TSV, Parquet and Arrow files, gzipped or plain, and from data frames.

pyarrow reads all of them; it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaeflow.data.table import Table
from vaeflow.data.telling import log
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.arrow import from_arrow, from_frame, open_arrow
from vaeflow.parts.datasets.files.delimited import read_text
from vaeflow.parts.datasets.files.unpacking import decompressed

LIMIT = 8 << 30  # bytes that a table may unpack to


def read_table(
    path: Path,
    *,
    separator: str | None = None,
    header: bool | None = None,
    missing: Sequence[str] = (),
    numbered: bool = False,
    limit: int = LIMIT,
) -> Table:
    """Read a table. Parquet and Arrow files are known by their bytes; any other file is text.

    A warning says what a text was taken for, where its name does not: its separators, decimal
    commas, names that are numbers.

    Arguments:
        path: the file.
        separator: the character between the cells of a text; None finds it.
        header: whether the first row of a text holds names; None finds out.
        missing: spellings of a missing value, beside the usual ones.
        numbered: number the columns where two have one name, instead of a refusal.
        limit: bytes that the file may unpack to.

    Raises:
        DataError: if the file is no table, or can be read in more than one way.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file: check the path")
    content = decompressed(path, limit=limit)
    opened = open_arrow(path, content, limit)
    if opened is not None:
        return from_arrow(str(path), opened, numbered=numbered).without(missing)
    table, told = read_text(
        path, content, separator=separator, header=header, missing=missing, numbered=numbered
    )
    if told:
        log.warning("%s is read with %s", path, ", ".join(told))
    return table.without(missing)


def table_from(
    frame: object, name: str = "the data frame", *, missing: Sequence[str] = ()
) -> Table:
    """Take a data frame of pandas, polars or pyarrow, or columns by name; an index is left out.

    Its rows are numbered from 0 on.

    Arguments:
        frame: the data frame, or a mapping from names to columns.
        name: what messages call it.
        missing: values that stand for a missing one, as text.

    Raises:
        DataError: if it is none.
    """
    return from_arrow(name, from_frame(frame, name), first=0).without(missing)
