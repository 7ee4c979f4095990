"""Checks of the values of a split; each error names the cure."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.data.places import Place, by_index
from vaeflow.data.stored import Stored, Values, chunks, ends, floats, has_gaps
from vaeflow.errors import DataError


def check_values(
    name: str,
    x: Values,
    data_shape: tuple[int, ...],
    support: constraints.Constraint,
    place: Place | None = None,
    *,
    gaps: bool = False,
) -> None:
    """Check that a split is not empty and that the likelihood can score every value.

    Arguments:
        name: what messages call the split.
        x: its values.
        data_shape: what the model takes.
        support: what the likelihood takes.
        place: how messages call a value; by default by its index in the split.
        gaps: whether NaN stands for a missing value.

    Raises:
        DataError: naming the split or the value, and the cure.
    """
    place = place or by_index(name)
    if len(x) == 0:
        raise DataError(f"the {name} split is empty: at least one example is needed")
    if tuple(x.shape[1:]) != data_shape:
        raise DataError(
            f"{name} examples have shape {tuple(x.shape[1:])}, but the model takes {data_shape}: "
            "reshape the data or build the model for it"
        )
    check_finite(x, place, gaps=gaps)
    if told := first_without(lambda part: support.check(part) | part.isnan(), x, place):
        if hasattr(support, "needs_at"):  # it is of columns, each of which has its own
            raise DataError(f"{told}, but {support.needs_at(floats(x))}: correct it or drop it")
        low, high = ends(x)
        raise DataError(
            f"{told}, which the likelihood cannot score: it needs {needs(support)}, and the "
            f"data lies in [{low:g}, {high:g}]; {_cure(x, low, high, support)}"
        )


def check_table(x: Values, support: constraints.Constraint, place: Place) -> None:
    """Check that one likelihood of all values can score the columns of a table.

    Raises:
        DataError: naming the first value that it cannot, with the likelihood that can.
    """
    if told := first_without(lambda part: support.check(part) | part.isnan(), x, place):
        raise DataError(
            f"{told}, which the likelihood cannot score: it needs {needs(support)}; use "
            "--likelihood columns, which scores each column of a table by its kind"
        )


def check_finite(x: Values, place: Place, *, gaps: bool = False) -> None:
    """Check that all values are finite, or NaN where that stands for a missing one.

    Raises:
        DataError: naming the first that is not.
    """
    if len(x) and all(map(math.isfinite, ends(x))) and (gaps or not has_gaps(x)):
        return
    if told := first_without(_finite_or_missing if gaps else torch.isfinite, x, place):
        cure = "replace or drop values that are not finite"
        if told.endswith("nan"):
            cure += ", or take NaN for missing ones by --missing mask"
        raise DataError(f"{told}: {cure}")


def _finite_or_missing(x: Tensor) -> Tensor:
    return x.isfinite() | x.isnan()


def first_without(good: Callable[[Tensor], Tensor], x: Values, place: Place) -> str:
    """Return "… is 7" for the first value of x that is not `good`, "" if there is none.

    Of data in a file, it is the first there. Bytes between their ends need not be looked at one by
    one where all are good.
    """
    index = None
    if isinstance(x, Stored):
        if (levels := x.levels) is not None:
            every = levels.view(-1, *(1,) * (x.ndim - 1)).expand(-1, *x.shape[1:])
            if good(every).all():
                return ""
        x, index = x.in_order()
    for start, part in chunks(x):
        fine = good(part)
        if not fine.all():
            first, *rest = (~fine).nonzero()[0].tolist()
            example = start + first if index is None else int(index[start + first])
            return f"{place([example, *rest])} is {part[(first, *rest)].item():g}"
    return ""


def needs(support: constraints.Constraint) -> str:
    """Return in words what a likelihood takes."""
    if support is constraints.boolean:
        return "values 0 and 1"
    if support is constraints.unit_interval:
        return "values in [0, 1]"
    if support is constraints.nonnegative_integer:
        return "whole numbers ≥ 0"
    if isinstance(support, constraints.integer_interval):
        return f"whole numbers from {support.lower_bound} to {support.upper_bound}"
    if isinstance(support, constraints.interval):
        return f"values in [{support.lower_bound:g}, {support.upper_bound:g}]"
    if support is constraints.real:
        return "real values"
    if support is constraints.positive:
        return "values above 0"
    if support is constraints.nonnegative:
        return "values ≥ 0"
    return f"values in {support}"


def _cure(x: Values, low: float, high: float, support: constraints.Constraint) -> str:
    levels: int | None = getattr(support, "levels", None)  # of grey values k/(levels − 1)
    grey = high <= 1
    if low < 0 or (not grey and support is constraints.nonnegative_integer):
        return "use --likelihood gaussian"
    if not grey:
        scale = _scale(x, high) if levels is None else levels - 1
        return f"divide it by {scale:g} (--dataset.scale {scale:g}), or use --likelihood gaussian"
    if support is constraints.nonnegative_integer and _last_level(x) == 255:
        return "keep whole numbers as they are by --dataset.scale 1"
    if levels is not None and (last := _last_level(x)) is not None:
        return f"its values are k/{last}: give --likelihood.levels {last + 1}"
    if support is constraints.boolean:
        return "use --binarization dynamic, or --likelihood continuous-bernoulli"
    return "use --likelihood continuous-bernoulli"


def _scale(x: Values, largest: float) -> float:
    """Return the largest value, or 255 for whole numbers that look like grey values of 8 bits."""
    whole = all(bool((part == part.round()).all()) for _, part in chunks(x))
    return 255.0 if 100 < largest <= 255 and whole else largest


def _last_level(x: Values) -> int | None:
    """Return n ≤ 255 if grey values look like k/n, else None."""
    values = floats(x[:1000]).double().unique()
    n = round(1 / values.diff().min().item()) if len(values) > 1 else 1
    k = values * n
    return n if n <= 255 and bool(((k - k.round()).abs() < 0.01).all()) else None
