"""The features X of an estimator as examples of a model, and examples as features again.

Shapes: N rows, D values of an example.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaeflow.data.columns import Column, ColumnKind, Columns, spelled
from vaeflow.data.kinds import LEVELS, LeftOut, column_of, kind_of, standardized, top_level
from vaeflow.data.table import Table
from vaeflow.errors import ConfigError, DataError, did_you_mean
from vaeflow.model.frames import is_frame
from vaeflow.parts.datasets.files.tables import table_from


def as_columns(x: Any) -> Mapping[str, np.ndarray]:
    """Return name -> values (N,) of a data frame, or of an array (N, F) as x0, x1, ….

    Raises:
        DataError: if it is no table, or a number is infinite.
    """
    if not is_frame(x):
        return {f"x{i}": column for i, column in enumerate(np.asarray(x).T)}
    # pandas would hand a named index on as a column.
    table = table_from(x.reset_index(drop=True) if hasattr(x, "reset_index") else x, "X")
    for name, values in table.items():
        if values.dtype != object and np.isinf(values).any():
            raise DataError(
                f"X: column {name!r} is infinite in row {int(np.isinf(values).argmax())}: correct "
                "it, or put NaN in its place if it is missing"
            )
    return table


def describe(
    given: Mapping[str, np.ndarray], kinds: Mapping[str, ColumnKind], train: np.ndarray | None
) -> Columns:
    """Return the columns of features: those of a frame by their kinds, those of an array numbers.

    Arguments:
        given: as `as_columns` returns them.
        kinds: name -> kind of columns of a frame; by default the values tell.
        train: the indices of the training rows, by which numbers are standardized; None leaves
            numbers as they are.

    Raises:
        ConfigError: if `kinds` names no column.
        DataError: if a column cannot be read.
    """
    for name in kinds:
        if name not in given:
            raise ConfigError(
                f"kinds: there is no column {name!r}{did_you_mean(name, given)}; X has "
                f"{', '.join(map(str, [*given][:10]))}"
            )
    if isinstance(given, Table):
        columns = _of_table(given, kinds)
    else:
        columns = [Column(name, "number") for name in given]
    if train is not None:
        numbers = {c.name: _numbers(given, c.name) for c in columns if c.kind == "number"}
        columns = standardized(columns, numbers, train)
    return Columns(tuple(columns))


def _of_table(table: Table, kinds: Mapping[str, ColumnKind]) -> list[Column]:
    found: dict[str, ColumnKind] = {}
    for name in table.types:
        kind = kind_of(table, name, kinds.get(name), asked=True)
        if isinstance(kind, LeftOut):
            cure = f", or give kinds={{{name!r}: {kind.cure!r}}}" if kind.cure else ""
            raise DataError(
                f"X: column {name!r} is {kind.why}, which no model can be fitted to: drop it{cure}"
            )
        found[name] = kind
    counts = [name for name, kind in found.items() if kind == "count" and name not in kinds]
    if top_level(table, counts) is not None:  # of one scale, as grey levels are
        found |= dict.fromkeys(counts, "number")
    return [column_of(table, name, kind) for name, kind in found.items()]


def _numbers(given: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return given.as_numbers(name) if isinstance(given, Table) else given[name]


def log_units(columns: Columns, x: np.ndarray) -> np.ndarray:
    r"""Return :math:`\sum \log` of the spreads of the numbers that each row of x (N, D) has: (N,).

    The density of a number in its own unit is that of the standardized one, divided by its spread.
    """
    where = columns.slices()
    total = np.zeros(len(x))
    for column in columns:
        if column.kind == "number":
            total += np.where(np.isnan(x[:, where[column.name].start]), 0.0, np.log(column.spread))
    return total


@dataclass(frozen=True)
class Frame:
    """What a data frame was, for rows of the model to be one of the same kind.

    Attributes:
        library: "pandas" or "polars".
        types: of each column, "number", "boolean" or "text".
        dtypes: of each column, of pandas; of polars None.
    """

    library: str
    types: tuple[str, ...]
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, x: Any, given: Mapping[str, np.ndarray]) -> Frame | None:
        """Return that of features, None if they are no frame that can be made again.

        Arguments:
            x: the features.
            given: as `as_columns` returns them.
        """
        library = type(x).__module__.partition(".")[0]
        if library not in ("pandas", "polars") or not isinstance(given, Table):
            return None
        types = tuple(given.types.values())
        dtypes = [*x.dtypes] if library == "pandas" else [None] * len(types)
        return cls(library, types, tuple(dtypes))

    def declared(self, names: Iterable[str]) -> dict[str, ColumnKind]:
        """Return name -> "category" of numbers that pandas holds as categories, of a few levels.

        Those that are 0 and 1 alone are true or false.
        """
        levels = [{*getattr(dtype, "categories", ())} for dtype in self.dtypes]
        return {
            name: "category"
            for name, type_, each in zip(names, self.types, levels, strict=True)
            if type_ == "number" and 2 <= len(each) <= LEVELS and not each <= {0, 1}
        }

    def make(self, columns: Columns, values: Mapping[str, np.ndarray], names: Any) -> Any:
        """Return decoded values (N,) of the columns as a data frame, under these names."""
        made = {
            name: _restored(column, values[column.name], type_, dtype)
            for name, column, type_, dtype in zip(
                names, columns, self.types, self.dtypes, strict=True
            )
        }
        return sys.modules[self.library].DataFrame(made)


def _restored(column: Column, values: np.ndarray, type_: str, dtype: Any) -> Any:
    """Return values of a column as the frame held them, in its dtype where that can hold them.

    A mean of whole numbers is none, and stays a number of float64.
    """
    if column.named and type_ == "boolean":
        values = np.array([value == "true" for value in values])
    elif column.named and type_ == "text":  # "1" was read as a level that is a number
        values = np.array([spelled(value) for value in values], object)
    if dtype is None:
        return values
    pandas: Any = sys.modules["pandas"]
    if isinstance(dtype, pandas.CategoricalDtype):
        known = {_level(category): category for category in dtype.categories}
        levels = [known.get(_level(value)) for value in values.tolist()]
        return values if None in levels else pandas.Categorical(levels, dtype=dtype)
    series = pandas.Series(values)
    try:
        cast = series.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return series
    rounds = pandas.api.types.is_float_dtype(dtype)
    return cast if column.named or rounds or (cast == series).all() else series


def _level(value: object) -> str | None:
    return str(value).lower() if isinstance(value, bool | np.bool_) else spelled(value)


def as_given(columns: Columns, x: np.ndarray, frame: Frame | None, names: Any) -> Any:
    """Return examples x (N, D) as the features were given: a data frame, or an array (N, F)."""
    values = columns.decode(x)
    if frame is not None and frame.library in sys.modules:
        return frame.make(columns, values, names)
    return np.stack([*values.values()], 1)
