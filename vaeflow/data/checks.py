"""Checks of the values of a split; each error names the cure."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.errors import DataError


def check_values(
    name: str, x: Tensor, data_shape: tuple[int, ...], support: constraints.Constraint
) -> None:
    """Check that a split is not empty and that the likelihood can score every value.

    Raises:
        DataError: naming the split, the index, the value and the cure.
    """
    if len(x) == 0:
        raise DataError(f"the {name} split is empty: at least one example is needed")
    if tuple(x.shape[1:]) != data_shape:
        raise DataError(
            f"{name} examples have shape {tuple(x.shape[1:])}, but the model takes {data_shape}: "
            "reshape the data or build the model for it"
        )
    finite = torch.isfinite(x)
    if not finite.all():
        where = (~finite).nonzero()[0].tolist()
        raise DataError(
            f"{name} example {where[0]} has the value {x[tuple(where)].item()} at "
            f"{tuple(where[1:])}: replace or drop values that are not finite"
        )
    inside = support.check(x)
    if not inside.all():
        where = (~inside).nonzero()[0].tolist()
        raise DataError(
            f"{name} example {where[0]} has the value {x[tuple(where)].item():g}, which the "
            f"likelihood cannot score: it needs {_describe(support)}, and the data lies in "
            f"[{x.min().item():g}, {x.max().item():g}]; {_cure(x, support)}"
        )


def _describe(support: constraints.Constraint) -> str:
    if support is constraints.boolean:
        return "values 0 and 1"
    if support is constraints.unit_interval:
        return "values in [0, 1]"
    if support is constraints.nonnegative_integer:
        return "whole numbers ≥ 0"
    return f"values in {support}"


def _cure(x: Tensor, support: constraints.Constraint) -> str:
    levels: int | None = getattr(support, "levels", None)  # of grey values k/(levels − 1)
    grey = x.max().item() <= 1
    if x.min() < 0 or (not grey and support is constraints.nonnegative_integer):
        return "use --likelihood gaussian"
    if not grey:
        scale = _scale(x) if levels is None else levels - 1
        return f"divide it by {scale:g} (--dataset.scale {scale:g}), or use --likelihood gaussian"
    if levels is not None and (last := _last_level(x)) is not None:
        return f"its values are k/{last}: give --likelihood.levels {last + 1}"
    if support is constraints.boolean:
        return "use --binarization dynamic, or --likelihood continuous-bernoulli"
    return "use --likelihood continuous-bernoulli"


def _scale(x: Tensor) -> float:
    """Return the largest value, or 255 for whole numbers that look like grey values of 8 bits."""
    largest = x.max().item()
    bytes_ = 100 < largest <= 255 and bool((x == x.round()).all())
    return 255.0 if bytes_ else largest


def _last_level(x: Tensor) -> int | None:
    """Return n ≤ 255 if grey values look like k/n, else None."""
    values = x[:1000].double().unique()
    n = round(1 / values.diff().min().item()) if len(values) > 1 else 1
    k = values * n
    return n if n <= 255 and bool(((k - k.round()).abs() < 0.01).all()) else None
