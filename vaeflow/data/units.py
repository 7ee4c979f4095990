"""Examples of a table in its own units, with no more digits than they have.

Shapes: N examples, D values of an example.
"""

from __future__ import annotations

import math

import numpy as np

from vaeflow.data.columns import Column, Columns

_DIGITS = 5  # behind the point of a standardized number, which float32 holds up to 10 or so


def in_units(columns: Columns, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values of x (N, D) by column, as a person would write them.

    A number has the digits that float32 told apart, and counts that are all whole are integers.
    """
    decoded = columns.decode(x)
    return {column.name: readable(column, decoded[column.name]) for column in columns}


def readable(column: Column, values: np.ndarray) -> np.ndarray:
    """Return a column's values (N,) in its units without the digits that x did not hold."""
    if column.named:
        return values
    if column.kind == "count" and bool((values == np.floor(values)).all()):  # NaN is unequal
        return values.astype(np.int64)
    if column.center == 0 and column.spread == 1:
        return values.astype(np.float32)
    return np.round(values, _DIGITS - math.floor(math.log10(column.spread)))
