"""How messages call a value of a split: by its row and column in a file, or by its index.

A place is a function of the value's index in its split, the number of the example first. Where that
is None, the index is of a whole column, the same value of all examples. An index of one number is
of the whole example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

Index: TypeAlias = "Sequence[int | None]"
Place: TypeAlias = "Callable[[Index], str]"


def by_index(split: str = "") -> Place:
    """Return "training example 3 at (0, 2)": all that is known of a split without an origin."""

    def place(index: Index) -> str:
        first, *rest = index
        example = "examples" if first is None else f"example {first}"
        return f"{split} {example}{_at(rest)}".lstrip()

    return place


def in_array(name: str) -> Place:
    """Return "x[3, 0, 2]", as Python writes it."""

    def place(index: Index) -> str:
        return f"{name}[{', '.join(':' if i is None else str(i) for i in index)}]"

    return place


def in_table(path: Path, rows: Sequence[int] | np.ndarray, columns: Sequence[str]) -> Place:
    """Return "people.csv: row 17, column 'age'".

    Arguments:
        path: the file.
        rows: the number of each example's row in the file.
        columns: names; of none of them the number is told.
    """

    def place(index: Index) -> str:
        if len(index) == 1:
            assert index[0] is not None
            return f"{path}: row {rows[index[0]]}"
        row, column = index
        assert column is not None
        told = f"column {columns[column]!r}" if columns else f"column {column + 1}"
        return f"{path}: {told}" if row is None else f"{path}: row {rows[row]}, {told}"

    return place


def in_files(files: Sequence[str]) -> Place:
    """Return "photos/a.png at (0, 3, 5)" for a file for each example."""

    def place(index: Index) -> str:
        first, *rest = index
        assert first is not None, "files have no columns"
        return f"{files[first]}{_at(rest)}"

    return place


def _at(rest: Index) -> str:
    return f" at ({', '.join(map(str, rest))})" if rest else ""


def moved(place: Place, order: np.ndarray) -> Place:
    """Return the place of examples that are the others' in another order, one index for each."""

    def at(index: Index) -> str:
        first, *rest = index
        return place([None if first is None else int(order[first]), *rest])

    return at
