"""A table in memory: its columns as they were read, before they become numbers of x."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from vaeflow.errors import DataError, did_you_mean

# The numbers of a text, as pyarrow's RE2 and Python read them alike.
NUMBER = (
    r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    r"|^[+-]?(inf|Inf|INF|[iI]nfinity|INFINITY)$"
)
NAN = ("nan", "-nan")  # spellings of what float64 holds itself, in small letters


_CURE = "correct it, drop the row, or use --dataset table, which takes texts"


@dataclass(frozen=True)
class Table(Mapping[str, np.ndarray]):
    """The columns of a table by name: float64 with NaN, or texts with None, for missing values.

    Attributes:
        origin: what messages call the table: the path of its file.
        arrays: name -> values (N,), in the order of the table.
        rows: the number of each row in its file (N,), as messages tell it.
        types: name -> "number", "boolean" or "text". A column of another type is not among the
            arrays; here it has its type.
        gaps: name -> how missing values are written -> how many are; "" is an empty cell.
        exact: of a column that float64 rounds, the values as they stand in the file.
        integers: the columns that are stored as whole numbers, which have no missing value.
        named: whether the names are the table's own, or the numbers of the columns from 1 on.
    """

    origin: str
    arrays: Mapping[str, np.ndarray]
    rows: Sequence[int] | np.ndarray
    types: Mapping[str, str]
    gaps: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    exact: Mapping[str, np.ndarray] = field(default_factory=dict)
    named: bool = True
    integers: Sequence[str] = ()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def size(self) -> int:
        """Return N, the number of rows."""
        return len(self.rows)

    def call(self, name: str) -> str:
        """Return how messages call a column: "column 'age'"."""
        return f"column {name!r}" if self.named else f"column {name}"

    def place(self, row: int, name: str) -> str:
        """Return how messages call a value: "people.csv: row 17, column 'age'"."""
        return f"{self.origin}: row {self.rows[row]}, {self.call(name)}"

    def as_read(self, name: str) -> np.ndarray:
        """Return a column as its file or frame holds it: truth values, integers, all digits."""
        values = self.arrays[name]
        if self.types.get(name) == "boolean":
            return np.array([{"true": True, "false": False}.get(v) for v in values], object)
        if name in self.exact:
            return self.exact[name]
        if name in self.integers and not np.isnan(values).any():
            return values.astype(np.int64)
        return values

    def require(self, name: str, option: str) -> np.ndarray:
        """Return the values of a column that an option names.

        Raises:
            DataError: if there is none.
        """
        if name in self.arrays:
            return self.arrays[name]
        if name in self.types:
            raise DataError(
                f"{option} {name}: {self.origin} has {self.types[name]} in that column, but "
                "numbers or texts are read: convert it"
            )
        shown = ", ".join([*self.arrays][:10]) + (", …" if len(self.arrays) > 10 else "")
        raise DataError(
            f"{option} {name}: {self.origin} has no such column{did_you_mean(name, self.arrays)}; "
            f"it has {shown}"
        )

    def without(self, missing: Sequence[str]) -> Table:
        """Return the table with more values missing, a number by whatever digits it is written."""
        arrays, gaps = dict(self.arrays), {name: dict(each) for name, each in self.gaps.items()}
        for spelling in missing:
            for name, values in self.arrays.items():
                if self.types[name] == "number":
                    same = values == float(spelling) if is_number(spelling) else np.zeros(0, bool)
                else:
                    same = np.array(
                        [v is not None and v.lower() == spelling.lower() for v in values]
                    )
                if same.any():
                    arrays[name] = arrays[name].copy()
                    arrays[name][same] = None  # NaN of a number
                    gaps.setdefault(name, {})[spelling] = int(same.sum())
        return replace(self, arrays=arrays, gaps=gaps)

    def numbers(self) -> np.ndarray:
        """Return the columns as float64 (N, D), where all of them are numbers or booleans.

        Raises:
            DataError: naming the first value that is none.
        """
        columns = []
        for name, kind in self.types.items():
            if name not in self.arrays:
                raise DataError(
                    f"{self.origin}: {self.call(name)} holds {kind}, not numbers: convert it or "
                    "drop it"
                )
            if any(spelling.lower() not in NAN for spelling in self.gaps.get(name, ())):
                self._refuse_gap(name)
            columns.append(self.as_numbers(name))
        return np.stack(columns, 1)

    def as_numbers(self, name: str, cure: str = _CURE) -> np.ndarray:
        """Return the values (N,) of a column, false as 0 and true as 1, in float64.

        Arguments:
            name: of the column.
            cure: of a text that is no number.

        Raises:
            DataError: naming the first text that is no number.
        """
        values = self.arrays[name]
        if self.types[name] == "number":
            return values
        if self.types[name] == "boolean":
            return np.array([np.nan if v is None else float(v == "true") for v in values])
        found = np.empty(self.size)
        for row, text in enumerate(values):
            if text is not None and not is_number(text):
                raise DataError(
                    f"{self.place(row, name)} holds {text[:40]!r}, not a number: {cure}"
                )
            found[row] = np.nan if text is None else float(text)
        return found

    def _refuse_gap(self, name: str) -> NoReturn:
        row = [value is None or value != value for value in self.arrays[name]].index(True)
        raise DataError(
            f"{self.place(row, name)} is empty: fill it in, drop the row, or use --dataset table, "
            "which takes missing values"
        )


def is_number(text: str) -> bool:
    """Tell whether a text is a number."""
    return re.match(NUMBER, text) is not None
