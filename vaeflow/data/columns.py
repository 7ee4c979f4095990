"""The columns of a table: how the values of each become numbers of x, and numbers values again.

Shapes: N examples, D numbers of an example, to which each column gives one or, if it is a category,
one for each of its levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from vaeflow.data.table import Table, is_number
from vaeflow.errors import DataError, did_you_mean

ColumnKind = Literal["number", "count", "boolean", "category"]
Call: TypeAlias = "Callable[[int], str]"  # how messages call the value of a row


@dataclass(frozen=True)
class Column:
    """A column by its kind.

    A number becomes (value − center)/spread, a whole count stays as it is, a boolean is 0 or 1, and
    a category with S levels becomes S values 0 or 1, of which one is 1. A missing value becomes
    NaN, in all values of a category.

    Attributes:
        name: in the header of the table.
        kind: "number", "count", "boolean" or "category".
        center, spread: of a number; 0 and 1 leave it in the data's units.
        levels: of a category, and the two of a boolean, as the table writes them: 0 is the first.
    """

    name: str
    kind: ColumnKind
    center: float = 0.0
    spread: float = 1.0
    levels: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Return how many numbers of an example the column is."""
        return len(self.levels) if self.kind == "category" else 1

    @property
    def named(self) -> bool:
        """Tell whether its values are texts."""
        return self.kind in ("boolean", "category")

    def encode(self, values: np.ndarray, call: Call | None = None) -> np.ndarray:
        """Return values (N,) of the table as float32 (N, width), NaN where one is missing.

        Arguments:
            values: numbers with NaN, or texts with None, where one is missing.
            call: how messages call the value of a row.

        Raises:
            DataError: if a text is no number, or none of the levels.
        """
        if not self.named:
            numbers = self._numbers(values, call or self._call)
            return np.asarray(((numbers - self.center) / self.spread)[:, None], np.float32)
        codes = self.codes(values, call or self._call)
        if self.kind == "boolean":
            return np.asarray(codes[:, None], np.float32)
        coded: np.ndarray = (codes[:, None] == np.arange(len(self.levels))).astype(np.float32)
        coded[np.isnan(codes)] = np.nan
        return np.asarray(coded)

    def _call(self, row: int) -> str:
        return f"column {self.name!r}"

    def _numbers(self, values: np.ndarray, call: Call) -> np.ndarray:
        if values.dtype != object:
            return values.astype(np.float64)
        numbers = np.full(len(values), math.nan)
        for row, value in enumerate(values):
            if (text := spelled(value)) is None:
                continue
            if is_number(text):
                numbers[row] = float(text)
            elif text in ("true", "false"):
                numbers[row] = text == "true"
            else:
                raise DataError(
                    f"{call(row)} holds {text[:40]!r}, but a number is expected: correct it, or "
                    "leave the cell empty"
                )
        return numbers

    def told_levels(self) -> str:
        """Return the levels in words, of many the first ones."""
        return _some(self.levels)

    def codes(
        self,
        values: np.ndarray,
        call: Call | None = None,
        cure: str = "correct it, or leave the cell empty",
    ) -> np.ndarray:
        """Return the number of each value's level (N,), NaN where it is missing.

        Arguments:
            values: levels (N,).
            call: how messages call the value of a row.
            cure: of a value that is no level.

        Raises:
            DataError: naming the first value that is none of the levels.
        """
        call = call or self._call
        known = {level: float(i) for i, level in enumerate(self.levels)}
        if self.kind == "boolean":  # TRUE is true
            known |= {level.lower(): float(i) for i, level in enumerate(self.levels)}
        codes = np.full(len(values), math.nan)
        for row, value in enumerate(values):
            if (text := spelled(value)) is None:
                continue
            code = known.get(text, known.get(text.lower()) if self.kind == "boolean" else None)
            if code is None:
                raise DataError(
                    f"{call(row)} holds {text!r}, which the training data did not: it held "
                    f"{self.told_levels()}{did_you_mean(text, self.levels)}; {cure}"
                )
            codes[row] = code
        return codes

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Return the values (N,) of x (N, width), in the data's own units; NaN is None in texts.

        Of the means of a boolean or a category, the value is the most probable level. Levels that
        are numbers, such as 0 and 1, are numbers again.
        """
        if not self.named:
            numbers: np.ndarray = x[:, 0].astype(np.float64) * self.spread + self.center
            return numbers
        missing = np.isnan(x).any(1)
        codes = (x[:, 0] > 0.5).astype(int) if self.kind == "boolean" else np.argmax(x, 1)
        plain = all(is_number(level) and spelled(float(level)) == level for level in self.levels)
        levels = np.array(self.levels, np.float64 if plain else object)
        decoded: np.ndarray = levels[codes]
        decoded[missing] = np.nan if plain else None
        return decoded


def spelled(value: object) -> str | None:
    """Return a value of a table as the text of a level, None if it is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def _some(names: Iterable[str]) -> str:
    """Return names in words, of many the first ones."""
    each = list(names)
    return ", ".join(each[:10]) + (", …" if len(each) > 10 else "")


def _place(table: Mapping[str, np.ndarray], name: str, row: int) -> str:
    """Return how messages call a value."""
    return table.place(row, name) if isinstance(table, Table) else f"column {name!r}"


@dataclass(frozen=True)
class Columns(Sequence[Column]):
    """The columns whose values are the D numbers of an example, in their order."""

    each: tuple[Column, ...] = ()

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, index: Any) -> Any:
        return self.each[index]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.each)

    @property
    def names(self) -> tuple[str, ...]:
        """Return their names."""
        return tuple(column.name for column in self.each)

    @property
    def width(self) -> int:
        """Return D."""
        return sum(column.width for column in self.each)

    def slices(self) -> dict[str, slice]:
        """Return where in an example the numbers of each column stand."""
        ends = np.cumsum([column.width for column in self.each]).tolist()
        return {c.name: slice(end - c.width, end) for c, end in zip(self.each, ends, strict=True)}

    def encode(self, table: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return x (N, D), float32, of a table's columns by name; others are left alone.

        Raises:
            DataError: if a column is missing, or holds a text that is no number or none of its
                levels.
        """
        for name in self.names:
            if name not in table:
                origin = table.origin if isinstance(table, Table) else "the data"
                free = [other for other in table if other not in self.names]
                raise DataError(
                    f"{origin} has no column {name!r}{did_you_mean(name, free, 0.7)}: the model "
                    f"was trained on it, and the data has {_some(table)}"
                )
        return np.concatenate(
            [c.encode(table[c.name], partial(_place, table, c.name)) for c in self.each], 1
        )

    def decode(self, x: np.ndarray | Tensor) -> dict[str, np.ndarray]:
        """Return the values of x (N, D) by column, in the data's own units.

        Raises:
            DataError: if x is of another shape.
        """
        x = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
        if x.shape != (len(x), self.width):
            raise DataError(
                f"x has shape {x.shape}, but (N, {self.width}) is decoded: give examples or draws "
                "of a model of these columns"
            )
        where = self.slices()
        return {c.name: c.decode(x[:, where[c.name]]) for c in self.each}

    def labels(self) -> list[str]:
        """Return how messages call each of the D numbers: "age", or "site = north"."""
        return [
            f"{column.name} = {level}" if level else column.name
            for column in self.each
            for level in (column.levels if column.kind == "category" else [""])
        ]

    def as_list(self) -> list[dict[str, Any]]:
        """Return plain values, for JSON."""
        return [asdict(column) for column in self.each]

    @classmethod
    def from_list(cls, each: Sequence[Mapping[str, Any]]) -> Columns:
        """Return the columns that `as_list` wrote."""
        return cls(tuple(Column(**{**one, "levels": tuple(one["levels"])}) for one in each))
