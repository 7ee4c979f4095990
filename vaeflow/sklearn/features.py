"""The features X of an estimator as examples of a model, and examples as features again.

Shapes: N rows, D values of an example.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow.data.columns import Column, ColumnKind, Columns
from vaeflow.data.kinds import LeftOut, column_of, kind_of, standardized, top_level
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


def library_of(x: object) -> str | None:
    """Return the library of a data frame that can be made again, "pandas" or "polars"."""
    name = type(x).__module__.partition(".")[0]
    return name if name in ("pandas", "polars") and is_frame(x) else None


def as_given(columns: Columns, x: np.ndarray, library: str | None, names: Any) -> Any:
    """Return examples x (N, D) as the features were given: a data frame, or an array (N, F)."""
    values = [*columns.decode(x).values()]
    if library is not None and library in sys.modules:
        frame: Any = sys.modules[library].DataFrame
        return frame(dict(zip(names, values, strict=True)))
    return np.stack(values, 1)
