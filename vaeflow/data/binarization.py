"""Binarization of grey values, and dequantization of grey levels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args, overload

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.data.checks import check_finite, first_without
from vaeflow.data.drawn import Draw, Drawn
from vaeflow.data.places import Place, by_index
from vaeflow.data.stored import Stored, Values, chunks, ends, extent, floats
from vaeflow.distributions.levels import Levels
from vaeflow.errors import ConfigError, DataError

# What is said of grey levels under a likelihood of binary data.
DRAWN = (
    "each level is drawn as 0 or 1 at each visit; --likelihood gaussian --likelihood.scale "
    "optimal, or --likelihood discretized-logistic, scores the levels themselves"
)
log = logging.getLogger("vaeflow")

Binarization = Literal["none", "dynamic", "threshold"]

# The evaluation splits of dynamically binarized data are drawn once, with this seed, for every
# run: a bound on the test set must not depend on the run that reports it.
EVALUATION_SEED = 777


_ANY = by_index()  # how a value is called where nothing else is known


def resolve_binarization(
    wanted: Literal["auto"] | Binarization,
    x: Values,
    support: constraints.Constraint,
    place: Place = _ANY,
    *,
    gaps: bool = False,
) -> Binarization:
    """Choose "dynamic" for grey data under a likelihood of binary data, "none" otherwise.

    Where `gaps` is set, NaN stands for a missing value.

    Raises:
        DataError: if a binarization is asked for and the data is not within [0, 1].
    """
    if wanted == "auto":
        if not (support is constraints.boolean and _is_grey(x, gaps)):
            return "none"
        if len(x.shape) == 4 and x.shape[1] == 3:
            log.warning("pixels are in colour, and binarized: %s", DRAWN)
        return "dynamic"
    if wanted != "none":
        _check_grey(x, wanted, place, gaps=gaps)
    return wanted


def _is_grey(x: Values, gaps: bool) -> bool:
    """Tell whether all values are within [0, 1], or NaN if there may be gaps; some are between."""
    low, high, missing = extent(x)
    if (missing and not gaps) or not 0 <= low <= high <= 1:
        return False
    return any(bool(((part > 0) & (part < 1)).any()) for _, part in chunks(x))


def binarize(x: Values, how: Binarization, place: Place = _ANY) -> Values:
    """Return x as an evaluation sees it: the same numbers in every run.

    threshold: 1 where x ≥ ½. dynamic: one draw x ~ Bernoulli(grey value) with `EVALUATION_SEED`.
    (During training, dynamic binarization is drawn anew at each visit, by the training step.)

    Raises:
        ConfigError: if there is no such binarization.
        DataError: if a value is no grey value in [0, 1].
    """
    if how == "none":
        return x
    if how not in get_args(Binarization):
        raise ConfigError(
            f"binarization {how!r} is unknown; give {', '.join(get_args(Binarization))}"
        )
    _check_grey(x, how, place)
    draw = _threshold if how == "threshold" else _bernoulli
    if isinstance(x, Stored):
        return _drawn_once(x, draw, EVALUATION_SEED, np.uint8)
    return draw(x, torch.Generator(x.device).manual_seed(EVALUATION_SEED))


def _threshold(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    return (x >= 0.5).to(x.dtype)


def _bernoulli(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.bernoulli(x, generator=generator)


def _drawn_once(x: Stored, draw: Draw, seed: int, dtype: type[np.generic]) -> Stored:
    """Return draws from x, in memory if x is there, else drawn as they are read."""
    drawn = Stored(Drawn(x, draw, seed, dtype))
    return drawn.to(x.device) if x.resident else drawn


def _check_grey(x: Values, how: str, place: Place, *, gaps: bool = False) -> None:
    check_finite(x, place, gaps=gaps)
    if told := first_without(lambda part: ((part >= 0) & (part <= 1)) | part.isnan(), x, place):
        low, high = ends(x)
        raise DataError(
            f"binarization {how!r} needs grey values in [0, 1], but {told}, and the data lies in "
            f"[{low:g}, {high:g}]: scale it (--dataset.scale), correct or "
            "drop the value, or use --binarization none"
        )


def checked_levels(levels: object) -> int | None:
    """Return the number of levels that a caller gives, or None.

    Raises:
        ConfigError: if it is no number of levels.
    """
    if levels is None:
        return None
    if isinstance(levels, bool) or not isinstance(levels, int) or not 2 <= levels <= 65536:
        raise ConfigError(
            f"dequantize is {levels!r}, but a whole number of levels from 2 to 65536, or None, is "
            "expected: 256 for images of 8 bits"
        )
    return levels


def dequantize(
    x: Values, levels: int, generator: torch.Generator | None = None, place: Place = _ANY
) -> Values:
    r"""Spread each grey level k/(levels − 1) over its share of [0, 1], :math:`(k + u)/levels`.

    The density of the result bounds the probability of the levels: with D values,
    −log P ≤ nll + D log(levels) on average over u ~ U[0, 1) (Theis et al. 2016, eq. 3).

    Arguments:
        generator: of u; by default torch's own.

    Raises:
        DataError: if a value is not one of the levels.
    """
    check_finite(x, place)
    if told := first_without(Levels(levels).check, x, place):
        top = levels - 1
        cure = "give the number of levels of the data"
        if 1 < ends(x)[1] <= top and all(bool((c == c.round()).all()) for _, c in chunks(x)):
            cure = f"divide the data by {top} (--dataset.scale {top})"
        raise DataError(f"--dequantize {levels} needs the values k/{top}, but {told}: {cure}")
    if isinstance(x, Stored):
        seed = (generator or torch.default_generator).initial_seed()
        return _drawn_once(x, lambda part, own: _spread(part, levels, own), seed, np.float32)
    return _spread(x, levels, generator)


def _spread(x: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return (Levels(levels).index(x) + u) / levels


def redraw(
    how: Binarization, levels: int | None, *, gaps: bool = False
) -> Callable[[Tensor], Tensor] | None:
    """Return what makes the data of a step from a batch, such as a draw; None changes nothing.

    Arguments:
        how: the binarization.
        levels: of grey values to be dequantized.
        gaps: whether NaN stands for a missing value, and is left as it is.
    """
    draws = {"dynamic": _draw_binary, "threshold": _threshold}
    draw = draws.get(how) if levels is None else partial(_spread, levels=levels)
    return partial(_around_gaps, draw) if gaps and draw is not None else draw


def _around_gaps(change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Change the values of x that are not missing."""
    missing = x.isnan()
    return torch.where(missing, x, change(torch.where(missing, 0.0, x)))


def _draw_binary(x: Tensor) -> Tensor:
    return torch.rand_like(x).lt_(x)  # torch.bernoulli takes three times as long


@overload
def prepare_split(
    x: Tensor, how: Binarization, levels: int | None, place: Place = ..., *, gaps: bool = ...
) -> Tensor: ...


@overload
def prepare_split(
    x: Values, how: Binarization, levels: int | None, place: Place = ..., *, gaps: bool = ...
) -> Values: ...


def prepare_split(
    x: Values, how: Binarization, levels: int | None, place: Place = _ANY, *, gaps: bool = False
) -> Values:
    """Return x as an evaluation sees it, binarized or dequantized: the same in every run.

    Arguments:
        x: a split.
        how: the binarization.
        levels: of grey values to be dequantized.
        place: how messages call a value.
        gaps: whether NaN stands for a missing value, and is left as it is.

    Raises:
        ConfigError: if both are asked for.
        DataError: if the values do not fit.
    """
    if gaps and (levels is not None or how != "none"):
        return _around_gaps(lambda known: prepare_split(known, how, levels, place), floats(x))
    if levels is None:
        return binarize(x, how, place)
    if how != "none":
        raise ConfigError(
            f"--dequantize {levels} makes grey values continuous, --binarization {how} makes them "
            "binary: leave one out"
        )
    return dequantize(x, levels, torch.Generator(x.device).manual_seed(EVALUATION_SEED), place)
