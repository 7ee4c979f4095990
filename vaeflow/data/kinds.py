"""Which kind a column of a table is of, by its values, and which columns are left out of the data.

The rules, of which the first that fits decides:

- An index without a name, a column without values, one with a single value, and whole numbers that
  count the rows are left out.
- Numbers are true or false if they are 0 and 1, a count if they are whole, from 0 on to at most
  1,000, and otherwise a number.
- Of 16 counts or more, half of which end at the same largest value that none exceeds, the values
  are levels of one scale, as grey levels of pixels are: numbers.
- Texts are true or false if they are such a pair of words, and a category if they have at most 50
  levels, each in two rows on average. Dates and times, and other texts, are left out.
- Where half of the texts or more are numbers, the column is refused: the others may be mistakes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vaeflow.data.columns import Column, ColumnKind, spelled
from vaeflow.data.table import Table, is_number
from vaeflow.errors import DataError

_COUNTS_TO = 1000
LEVELS = 50  # of a category
_MANY = 16  # counts, from where on one scale of all is no chance
_INDEX = r"Unnamed: \d+|__index_level_\d+__"  # as pandas and pyarrow call it
_PAIRS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"))
_DATE = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?|\d\d:\d\d(:\d\d.*)?|\d{1,2}[./]\d{1,2}[./]\d{4}.*"
_GROUPED = r"[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d+)?|[+-]?\d+,\d+"
_UNIT = r"[$€£] ?[+-]?\d[\d.,]*|[+-]?\d[\d.,]* ?[%$€£]"
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class LeftOut:
    """A column that is no part of the data.

    Attributes:
        why: in brackets behind its name.
        cure: the kind by which it can be taken in, None if there is none.
        names_rows: whether its values tell the rows apart, as ids and names do.
    """

    why: str
    cure: ColumnKind | None = None
    names_rows: bool = False


def kind_of(
    table: Table, name: str, given: ColumnKind | None = None, *, asked: bool = False
) -> ColumnKind | LeftOut:
    """Return the kind of a column, or why it is left out.

    Arguments:
        table: that holds it.
        name: of the column.
        given: the kind that it is to have, if it is not left out.
        asked: whether it is wanted by its name, also if it counts rows or has a single value.

    Raises:
        DataError: if most of its values are numbers, and some are not.
    """
    if name not in table:
        return LeftOut(f"of type {table.types[name]}")
    values = table[name]
    known = [v for v in values.tolist() if not (v is None or v != v)]
    different = set(known)
    if not different:
        return LeftOut("without a value")
    if not asked:
        if is_index(name):
            return LeftOut("an index", names_rows=True)
        if len(different) == 1 and name not in table.exact:
            return LeftOut("with a single value")
        if _counts_rows(values):
            return LeftOut("which counts the rows", names_rows=True)
    if given or table.types[name] == "boolean":
        return given or "boolean"
    if table.types[name] == "number":
        return _kind_of_numbers(different)
    _check_not_mixed(table, name, known)
    return kind_of_texts(different, len(known))


def is_index(name: str) -> bool:
    """Tell whether a column is an index without a name."""
    return re.fullmatch(_INDEX, name) is not None


def _counts_rows(values: np.ndarray) -> bool:
    return (
        values.dtype != object
        and len(values) > 2
        and bool((values == np.floor(values)).all() and (np.diff(values) == 1).all())
    )


def _kind_of_numbers(different: set[float]) -> ColumnKind:
    if different <= {0.0, 1.0}:
        return "boolean"
    whole = all(value == np.floor(value) for value in different)
    return "count" if whole and min(different) == 0 and max(different) <= _COUNTS_TO else "number"


def top_level(table: Table, names: Sequence[str]) -> int | None:
    """Return the largest level if counts are levels of one scale, else None.

    The largest of many counts differs from column to column, and is the largest of all in few.
    """
    if len(names) < _MANY:
        return None
    tops = np.array([np.nanmax(table[name]) for name in names])
    return int(tops.max()) if 2 * (tops == tops.max()).sum() >= len(tops) else None


def kind_of_texts(different: set[str], rows: int) -> ColumnKind | LeftOut:
    """Return the kind of so many rows of texts, or why they are left out."""
    if _pair(different):
        return "boolean"
    if all(re.fullmatch(_DATE, text) for text in different):
        return LeftOut("dates or times")
    if len(different) <= LEVELS and 2 * len(different) <= rows:
        return "category"
    names_rows = 2 * len(different) > rows
    return LeftOut(f"{len(different):,} different texts", "category", names_rows)


def _pair(different: set[str]) -> tuple[str, str] | None:
    """Return two words for false and true as they are written, if the texts are such words."""
    small = {text.lower(): text for text in different}
    for pair in _PAIRS:
        if small.keys() <= set(pair) and len(small) == len(different) == 2:
            return small[pair[0]], small[pair[1]]
    return None


def _check_not_mixed(table: Table, name: str, known: list[str]) -> None:
    """Refuse numbers with texts among them."""
    texts = [text for text in known if not is_number(text)]
    near = [text for text in texts if re.fullmatch(f"{_GROUPED}|{_UNIT}", text)]
    numbers = len(known) - len(texts) + len(near)
    if not texts or 2 * numbers < len(known):
        return
    wrong = next((text for text in texts if text not in {*near}), near[0] if near else "")
    place = table.place(table[name].tolist().index(wrong), name)
    drop = f"write plain numbers, or leave the column out by --dataset.drop {quoted(name)}"
    if re.fullmatch(_UNIT, wrong):
        raise DataError(f"{place} holds {wrong!r}, a number with a unit: {drop}")
    if re.fullmatch(_GROUPED, wrong):
        raise DataError(
            f"{place} holds {wrong!r}, whose mark may stand before decimals or between thousands: "
            f"{drop}"
        )
    raise DataError(
        f"{place} holds {wrong[:40]!r} among {numbers:,} numbers: correct it, take it for a "
        f"missing value by --dataset.missing {quoted(wrong[:40])}, or take the column for texts by "
        f"--dataset.kinds {quoted(name + '=category')}"
    )


def column_of(table: Table, name: str, kind: ColumnKind) -> Column:
    """Return a column of a kind with its levels; a number has neither center nor spread yet.

    Raises:
        DataError: naming a value that is none of that kind.
    """
    if kind in ("number", "count"):
        _check_numbers(table, name, kind)
        return Column(name, kind)
    known = {text for value in table[name] if (text := spelled(value)) is not None}
    if kind == "category":
        return Column(name, kind, levels=tuple(sorted(known, key=_by_number)))
    if table.types[name] == "boolean":
        return Column(name, kind, levels=("false", "true"))
    levels = ("0", "1") if known <= {"0", "1"} else _pair(known) or tuple(sorted(known))
    if len(levels) != 2:
        raise DataError(
            f"{table.origin}: {table.call(name)} has {len(levels):,} values, but a boolean has "
            f"two: take it for another kind, as in --dataset.kinds {quoted(name + '=category')}"
        )
    return Column(name, kind, levels=levels)


def quoted(word: str) -> str:
    """Return a word as the shell takes it."""
    return shlex.quote(word)


def _by_number(text: str) -> tuple[float, str]:
    return (float(text) if is_number(text) else np.inf, text)


def _check_numbers(table: Table, name: str, kind: ColumnKind) -> None:
    cure = f"correct it, or use --dataset.kinds {quoted(name + '=category')}"
    values = table.as_numbers(name, cure)
    bad = abs(values) > _LARGEST
    expected = "a number within the range of float32"
    if kind == "count":
        bad |= (values < 0) | ((values != np.floor(values)) & ~np.isnan(values))
        expected = "a whole number from 0 on"
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{table.place(row, name)} holds {values[row]:g}, but {expected} is needed: correct "
            f"it, or, if it stands for a missing value, use --dataset.missing {values[row]:g}"
        )


def standardized(
    columns: list[Column], table: Mapping[str, np.ndarray], train: np.ndarray
) -> list[Column]:
    """Return columns whose numbers have the mean and the deviation of the training rows.

    Arguments:
        columns: of the table.
        table: name -> values (N,), numbers with NaN where one is missing.
        train: the indices of the training rows.
    """
    found = []
    for column in columns:
        if column.kind == "number":
            values = np.asarray(table[column.name], np.float64)[train]
            values = values[~np.isnan(values)]
            center = float(values.mean()) if len(values) else 0.0
            spread = float((values - center).std()) if len(values) else 0.0
            column = Column(column.name, "number", center, spread or 1.0)
        found.append(column)
    return found
