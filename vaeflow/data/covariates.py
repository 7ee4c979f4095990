"""Covariates: values beside x on which a model is conditioned, as numbers.

Shapes: N examples, C covariates, each of which is one number: that of a level, or a standardized
value.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.columns import Column, Columns
from vaeflow.data.places import Place, by_index
from vaeflow.data.table import is_number
from vaeflow.errors import DataError, did_you_mean

_FEW = 20  # whole numbers, up to which they are levels such as digits and months


def describe(name: str, values: np.ndarray, like: Column | None = None) -> Column:
    """Return a covariate as training data shows it: a category of its levels, or a number.

    Texts, truth values and whole numbers of at most 20 different values are categories. All other
    numbers are standardized.

    Arguments:
        name: of the covariate.
        values: of the training data (N,), numbers or texts.
        like: the column of a table, whose kind is known.
    """
    if like is not None and like.named:
        return replace(like, kind="category")
    known = _known(values)
    numbers = values.dtype.kind in "iuf"
    few = numbers and bool((known == np.floor(known)).all()) and len(np.unique(known)) <= _FEW
    if numbers and not (few and (like is None or like.kind == "count")):
        spread = float(known.std(dtype=np.float64)) if len(known) else 0.0
        center = float(known.mean(dtype=np.float64)) if len(known) else 0.0
        return Column(name, "number", center, spread or 1.0)
    order = np.unique(known) if numbers else sorted({str(v) for v in known})
    return Column(name, "category", levels=tuple(_text(v) for v in order))


def numbers_of(
    columns: Columns,
    values: Mapping[str, np.ndarray],
    place: Place | None = None,
    cure: Callable[[Column], str] = lambda column: "correct it",
) -> Tensor:
    """Return covariates (N, C) as numbers, float64.

    Arguments:
        columns: the covariates, as `describe` found them.
        values: name -> values (N,), none of which is missing.
        place: how messages call an example.
        cure: of a level that is not known, by its column.

    Raises:
        DataError: if one is a level that the training data did not hold.
    """
    place = place or by_index()
    found = []
    for column in columns:
        given = np.asarray(values[column.name])
        if column.named:
            texts = np.array([_text(v) for v in given], object)
            found.append(column.codes(texts, partial(_call, place, column.name), cure(column)))
        else:
            found.append((given.astype(np.float64) - column.center) / column.spread)
    return torch.from_numpy(np.stack(found, 1).astype(np.float64))


def values_of(columns: Columns, condition: Tensor) -> dict[str, np.ndarray]:
    """Return the values (N,) of covariates (N, C) by name, as the data holds them."""
    found = {}
    for column, numbers in zip(columns, condition.double().cpu().numpy().T, strict=True):
        if column.named:
            one_hot = numbers[:, None] == np.arange(len(column.levels))
            found[column.name] = column.decode(one_hot.astype(np.float32))
        else:
            found[column.name] = column.decode(numbers[:, None])
    return found


def _call(place: Place, name: str, row: int) -> str:
    return f"{place([row])}, {name!r},"


def given_covariates(
    columns: Columns, values: Mapping[str, object], place: Place | None = None
) -> Tensor:
    """Return covariates that a caller names, (N, C): N is 1 where each has a single value.

    Arguments:
        columns: the covariates of a model.
        values: name -> one value, or values (N,).
        place: how messages call one of N examples; by default by its number.

    Raises:
        DataError: if one is missing, unknown, or a level that the training data did not hold.
    """
    if not columns and not values:
        return torch.zeros(1, 0, dtype=torch.float64)
    for name in values:
        if name not in columns.names:
            raise DataError(
                f"the model is not conditioned on {name!r}{did_you_mean(name, columns.names)}: "
                f"{_wanted(columns)}"
            )
    if missing := [name for name in columns.names if name not in values]:
        raise DataError(
            f"the model is conditioned on {missing[0]!r}, which is not given: {_wanted(columns)}"
        )
    arrays = {name: np.atleast_1d(np.asarray(_plain(value))) for name, value in values.items()}
    counts = {len(array) for array in arrays.values()} - {1}
    if len(counts) > 1:
        raise DataError(
            f"the covariates have {', '.join(map(str, sorted(counts)))} values: give as many of "
            "each, or one"
        )
    count = counts.pop() if counts else 1
    for column in columns:
        if not column.named:
            arrays[column.name] = _numbers(column.name, arrays[column.name])
    for column in columns:
        _check_given(column, arrays[column.name], place or by_index())
    wide = {name: np.broadcast_to(array, (count,)) for name, array in arrays.items()}
    return numbers_of(columns, wide, place, lambda _: "correct it")


def _check_given(column: Column, values: np.ndarray, place: Place) -> None:
    """Refuse missing values, and a single one that is no level."""
    gaps = absent(values)
    if gaps.any() and len(values) > 1:
        raise DataError(
            f"{place([int(gaps.argmax())])} has no {column.name!r} ({int(gaps.sum()):,} of "
            f"{len(values):,} have none), but the model is conditioned on it: fill it in, or "
            f"{_for_all(column)}"
        )
    if gaps.any():
        raise DataError(
            f"{column.name!r} is missing, but the model is conditioned on it: give a value, such "
            f"as {column.name}={example_of(column)}"
        )
    if len(values) == 1 and column.named and (text := _text(values[0])) not in column.levels:
        guess = "" if is_number(text) else did_you_mean(text, column.levels)
        raise DataError(
            f"{column.name}={text}: the training data held no such level{guess}; give one of "
            f"{column.told_levels()}"
        )


def _for_all(column: Column) -> str:
    value = shlex.quote(f"{column.name}={example_of(column)}")
    return f"give it for all rows by --condition {value}"


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    try:
        return values.astype(np.float64)
    except ValueError:
        raise DataError(f"{name}={values[0]}: {name!r} is a number, such as {name}=1.5") from None


def example_of(column: Column) -> str:
    """Return a value of a covariate, as text: a level, or the mean of a number."""
    return column.levels[0] if column.named else f"{column.center:.3g}"


def _wanted(columns: Columns) -> str:
    each = ", ".join(f"{c.name}={example_of(c)}" for c in columns)
    return (
        f"give values such as {each}, by --condition"
        if each
        else "it was trained without --condition"
    )


def _plain(value: object) -> object:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _text(value: object) -> str:
    """Return a level as text: 3, 3.0 and "3" are one."""
    if isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return f"{float(value):.17g}"
    return str(value)


def absent(values: np.ndarray) -> np.ndarray:
    """Tell which values (N,) are missing."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind == "O":
        return np.array([v is None or v != v for v in values], bool)
    return np.zeros(len(values), bool)


def _known(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[~absent(values)])


def told(columns: Columns, condition: Tensor) -> list[str]:
    """Return the covariates (N, C) of each example in words, such as "digit=3, age=40"."""
    found = []
    for row in condition.tolist():
        each = (
            c.levels[int(v)] if c.named else f"{v * c.spread + c.center:.3g}"
            for c, v in zip(columns, row, strict=True)
        )
        names = (f"{c.name}={v}" for c, v in zip(columns, each, strict=True))
        found.append(", ".join(names))
    return found


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Check that the covariates that are asked for are there.

    Raises:
        DataError: naming the first that is not.
    """
    for name in names:
        if name not in known:
            told = f"it has {', '.join(known)}" if known else "it has neither labels nor columns"
            raise DataError(
                f"--condition {name}: the data has no such label or column"
                f"{did_you_mean(name, known)}; {told}"
            )
