"""Tables of numbers from CSV and Parquet files; each row is an example."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import decompressed, reason

_EXACT = 2**53  # from where on float64 leaves out whole numbers


@dataclass(frozen=True)
class Table:
    """Numbers (rows, columns), and what they are called in their file.

    Arguments:
        values: float64.
        rows: the number of each row in the file.
        columns: the names, none where the file has none.
        exact: of a column that float64 rounds, the values as they stand in the file.
    """

    values: np.ndarray
    rows: Sequence[int] | np.ndarray
    columns: Sequence[str] = ()
    exact: Mapping[int, np.ndarray] = field(default_factory=dict)


def read_csv(path: Path, *, limit: int) -> Table:
    """Read numbers from a CSV file, gzipped or plain, of at most `limit` bytes.

    Commas separate cells. A first line without a number is a header. Empty lines are skipped.

    Raises:
        DataError: if the file is no such table, naming the first wrong cell.
    """
    try:
        text = decompressed(path, limit=limit).decode("utf-8-sig")
        # With one kind of line end, csv.reader and numpy.loadtxt count the same lines.
        return _csv(path, io.StringIO(text, newline=None).read())
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8 (byte {error.start}): write the table as CSV"
        ) from None
    except csv.Error as error:
        raise DataError(
            f"{path} is no table ({reason(error)}): correct it, or write it as CSV again"
        ) from None


def _csv(path: Path, text: str) -> Table:
    rows = _rows(text)
    number, cells = next(rows, (0, []))
    names: list[str] = []
    header = number if not any(map(_is_number, cells)) else 0
    if header:
        names = [cell.strip() for cell in cells]
        number, cells = next(rows, (0, []))
    if not cells:
        raise DataError(f"{path} holds no row of numbers: write an example on each line")
    if len(names) != len(cells) or len(set(names)) < len(names):
        names = []
    try:
        values = _numbers(text, header)
    except ValueError as error:
        told = _trouble(text, number, len(cells), names) or reason(error)
        raise DataError(f"{path}: {told}") from None
    large = [i for i, top in enumerate(np.abs(values).max(0)) if top >= _EXACT]
    exact = dict(zip(large, _numbers(text, header, large, str).T, strict=True)) if large else {}
    return Table(values, _line_numbers(text, header, len(values)), names, exact)


def _numbers(
    text: str, header: int, columns: Sequence[int] | None = None, dtype: type = float
) -> np.ndarray:
    return np.loadtxt(
        io.StringIO(text), dtype, delimiter=",", quotechar='"', comments=None, ndmin=2,
        skiprows=header, usecols=columns,
    )  # fmt: skip


def _line_numbers(text: str, header: int, count: int) -> Sequence[int] | np.ndarray:
    """Return the number of the line on which each example ends."""
    if text.rstrip("\n").count("\n") + 1 == header + count:
        return range(header + 1, header + count + 1)
    # Some lines are empty, or an example takes several.
    return np.fromiter((number for number, _ in _rows(text) if number > header), np.int64)


def read_parquet(path: Path, *, limit: int) -> Table:
    """Read numbers from a Parquet file, of at most `limit` bytes as float64.

    Raises:
        DataError: if pyarrow is missing, the file is damaged or a column holds other than numbers.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{path} is a Parquet file, which needs pyarrow: pip install 'vaeflow[parquet]', or "
            "store the table as .npy"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            size = 8 * file.metadata.num_rows * file.metadata.num_columns
            if size > limit:
                raise DataError(
                    f"{path} unpacks to {size:,} bytes, but at most {limit:,} are read: store "
                    "fewer rows or columns"
                )
            table = file.read()
    except DataError:
        raise
    except Exception as error:  # pyarrow's own, and OSError
        raise DataError(
            f"{path} is not a readable Parquet file ({reason(error)}): write it again"
        ) from None
    names = table.column_names
    columns = [_column(path, name, table.column(i)) for i, name in enumerate(names)]
    if not columns or not len(columns[0]):
        return Table(np.empty((table.num_rows, len(columns))), ())
    large = [
        i
        for i, x in enumerate(columns)
        if x.dtype.kind in "iu" and max(int(x.max()), -int(x.min())) >= _EXACT
    ]
    values = np.stack([x.astype(np.float64) for x in columns], 1)
    return Table(values, range(1, len(values) + 1), names, {i: columns[i] for i in large})


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, and its cells.

    Raises:
        csv.Error: if a quote is not closed, which would swallow the lines below it.
    """
    lines = text.count("\n") + (not text.endswith("\n"))
    # The empty line added at the end is a row of its own, unless an open quote swallows it.
    reader = csv.reader(chain(io.StringIO(text, newline=""), ["\n"]))
    start = 1
    try:
        for cells in reader:
            if cells and reader.line_num > lines:
                raise csv.Error
            if cells:
                yield reader.line_num, cells
            start = reader.line_num + 1
    except csv.Error:  # an open quote, or a cell too long, which over many lines is the same
        if reader.line_num == start:
            raise
        raise csv.Error(f"row {start} has a quote that is not closed") from None


def _is_number(cell: str) -> bool:
    """Tell whether NumPy reads the cell: Python's numbers, without underscores, in ASCII."""
    cell = cell.strip()
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _trouble(text: str, first: int, width: int, names: Sequence[str]) -> str:
    """Describe the first row from row `first` on that is not `width` numbers.

    NumPy's own message counts rows and columns otherwise.
    """
    for number, row in _rows(text):
        if number < first:
            continue
        for column, cell in enumerate(row, 1):
            if not _is_number(cell):
                held = f"holds {cell[:40]!r}, not a number" if cell.strip() else "is empty"
                name = repr(names[column - 1]) if column <= len(names) else column
                return (
                    f"row {number}, column {name} {held}: correct it, with commas between "
                    "numbers, or drop the row"
                )
        if len(row) != width:
            return (
                f"row {number} has {len(row)} columns, but row {first} has {width}: give every "
                "row the same"
            )
    return ""


def _column(path: Path, name: str, column: Any) -> np.ndarray:
    from pyarrow import types

    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise DataError(f"{path}: column {name!r} holds {kind}, not numbers: convert it or drop it")
    values = column.is_null().to_numpy()
    if values.any():
        raise DataError(
            f"{path}: row {int(values.argmax()) + 1}, column {name!r} is empty: fill it in or "
            "drop the row"
        )
    return np.asarray(column.to_numpy())
