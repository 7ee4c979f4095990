"""Values that float32, in which data is kept, cannot tell apart."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vaeflow.data.places import Place

log = logging.getLogger("vaeflow")

_LEVELS = 1e6  # a range of fewer different numbers than these is coarse
_TOLD = 3  # columns that have a warning of their own


@dataclass(frozen=True)
class _Merged:
    """A column whose distinct values become fewer."""

    index: tuple[int, ...]
    before: int
    after: int
    least: str  # its smallest value, if the others stay distinct once it is subtracted


def warn_of_merged(
    array: np.ndarray,
    place: Place,
    dtype: np.dtype,
    exact: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Warn of columns whose distinct values become the same in another type.

    A column is one value of all examples, such as array[:, 3] or array[:, 0, 5, 5].

    Arguments:
        array: (N, …), as it was given.
        place: how messages call a column.
        dtype: the type in which the array will be kept.
        exact: of a column that the array rounds already, its values as they stand in the file.
    """
    found = list(_merged(array, dtype, exact or {}))
    for column in found[:_TOLD]:
        cure = "leave it out, or give its digits in two columns"
        if column.least:
            cure = f"subtract its smallest value, {column.least}, or leave it out"
        log.warning(
            "%s cannot tell apart the values of %s (%s distinct ones become %s): %s",
            dtype, place((None, *column.index)), f"{column.before:,}", f"{column.after:,}", cure,
        )  # fmt: skip
    if len(found) > _TOLD:
        log.warning("nor the values of %s columns more", f"{len(found) - _TOLD:,}")


def _merged(
    array: np.ndarray, dtype: np.dtype, exact: Mapping[int, np.ndarray]
) -> Iterator[_Merged]:
    if array.ndim < 2 or not array.size or _holds(dtype, array.dtype):
        return
    with np.errstate(all="ignore"):  # infinite values and NaN are refused elsewhere
        columns = array.reshape(len(array), -1)
        first, last = columns.min(0), columns.max(0)
        low, high = first.astype(np.float64), last.astype(np.float64)
        step = np.spacing(np.maximum(abs(low), abs(high)).astype(dtype)).astype(np.float64)
        # Whole numbers are 1 apart, others as far as their range needs: few columns are sorted.
        coarse = (last > first) & ((step > 1) | (high - low < _LEVELS * step))
        coarse[list(exact)] = True
        for i in np.flatnonzero(coarse).tolist():
            column = columns[:, i]
            whole = bool((column == np.floor(column)).all())
            before = len(np.unique(exact.get(i, column)))
            after = len(np.unique(column.astype(dtype)))
            # A few among many fractions always fall together.
            if after < before if whole else 2 * after <= before:
                index = tuple(map(int, np.unravel_index(i, array.shape[1:])))
                wide = whole and np.spacing(dtype.type(high[i] - low[i])) > 1
                least = f"{int(first[i])}" if whole else f"{low[i]:.17g}"
                yield _Merged(index, before, after, "" if wide else least)


def _holds(dtype: np.dtype, other: np.dtype) -> bool:
    """Tell whether a type of floats holds all values of another; NumPy says so of 64 bits too."""
    long = other.kind in "iu" and other.itemsize >= dtype.itemsize
    return not long and np.can_cast(other, dtype)
