"""Whether the first row of a text holds the names of the columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaeflow.data.table import is_number
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.cells import Cells

_MANY = 10  # rows of which a first one outside the range of all others looks like names


def has_names(
    path: Path, row: int, first: Sequence[str], columns: Sequence[Cells], told: list[str]
) -> bool:
    """Tell whether the cells of the first row are names, by the columns below them.

    Texts are names, unless they come again below. Numbers are names if they count the columns from
    0 or 1 on, unless they might go on counting below. Of texts and numbers, a text above numbers is
    a name.

    Arguments:
        path: the file, for messages.
        row: the number of the first row.
        first: its cells.
        columns: the columns below it; none if it is the only row.
        told: takes what is to be told of names that are numbers.

    Raises:
        DataError: if the row may be names as well as an example.
    """
    numeric = [i for i, cell in enumerate(first) if is_number(cell)]
    if not columns:
        return not numeric
    if not numeric:
        if _come_again(first, columns) and all(cells.type == "text" for cells in columns):
            raise _either(path, row, first)
        return True
    if len(numeric) == len(first):
        names = _numbers_are_names(path, row, first, columns)
    else:
        names = _some_are_names(path, row, first, columns, numeric)
    if names:
        shown = ", ".join(first[:4]) + (", …" if len(first) > 4 else "")
        told.append(f"row {row} ({shown}) as the names of the columns")
    return names


def _numbers_are_names(
    path: Path, row: int, first: Sequence[str], columns: Sequence[Cells]
) -> bool:
    values, n = np.array(first, float), len(first)
    inside = [_within(x, cells) for x, cells in zip(values, columns, strict=True)]
    whole = all(map(_whole, columns))
    from_0, from_1 = (np.array_equal(values, np.arange(n) + start) for start in (0, 1))
    if from_0 and n <= 2:  # an example 0, 1 is common, a longer one is not
        either = any(inside) or whole
    elif from_0 or (from_1 and n > 4):
        above = [_above(x, cells) for x, cells in zip(values, columns, strict=True)]
        either = whole and (len(columns[0]) < _MANY or not any(above))
    else:
        either = n > 2 and _counts(values) and not any(inside) and len(columns[0]) >= _MANY
        if not either:
            return False
    if either:
        raise _either(path, row, first)
    return True


def _some_are_names(
    path: Path, row: int, first: Sequence[str], columns: Sequence[Cells], numeric: list[int]
) -> bool:
    values = np.array([first[i] for i in numeric], float)
    counts = _counts(values)
    texts = [i for i, cell in enumerate(first) if cell and i not in numeric]
    above = [i for i in texts if columns[i].type == "number" and not _missing(first[i])]
    if above and counts:
        return True
    if above:
        i = above[0]
        raise DataError(
            f"{path}: row {row}, column {i + 1} holds {first[i][:40]!r}, not a number as the rows "
            "below: correct it, or, if the row holds names, use --dataset table with "
            "--dataset.header true"
        )
    if not counts or _come_again(first, columns):
        return False
    if not texts and (first[0] or values[0] != 0):  # gaps; the name of an index is empty
        return False
    inside = all(_within(float(first[i]), columns[i]) for i in numeric)
    if inside and all(_whole(columns[i]) for i in numeric):
        raise _either(path, row, first)
    return not inside or values[0] in (0, 1)


def _missing(cell: str) -> bool:
    import pyarrow as pa

    return Cells(pa.chunked_array([pa.array([cell]).dictionary_encode()])).type == "number"


def _counts(values: np.ndarray) -> bool:
    """Tell whether whole numbers rise by the same step."""
    steps = np.diff(values)
    return len(values) > 1 and bool(
        (values == np.floor(values)).all() and (steps == steps[0]).all() and steps[0] >= 1
    )


def _within(value: float, cells: Cells) -> bool:
    """Tell whether a number is no smaller and no larger than all of a column."""
    if cells.type == "text" or np.isnan(cells.numbers).all():
        return False
    return bool(np.nanmin(cells.numbers) <= value <= np.nanmax(cells.numbers))


def _above(value: float, cells: Cells) -> bool:
    """Tell whether a number is larger than all of a column of numbers."""
    return cells.type == "text" or not np.nanmax(cells.numbers, initial=-np.inf) >= value


def _whole(cells: Cells) -> bool:
    return cells.type == "number" and bool(
        (np.floor(cells.numbers) == cells.numbers)[~np.isnan(cells.numbers)].all()
    )


def _come_again(first: Sequence[str], columns: Sequence[Cells]) -> bool:
    return any(c.holds(cell) for cell, c in zip(first, columns, strict=True) if cell)


def _either(path: Path, row: int, first: Sequence[str]) -> DataError:
    shown = ", ".join(first[:4]) + (", …" if len(first) > 4 else "")
    return DataError(
        f"{path}: row {row} ({shown}) may hold the names of the columns, or an example: use "
        "--dataset table with --dataset.header true, or false"
    )
