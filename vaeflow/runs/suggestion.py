"""Which likelihood suits a data set, and which others could score it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import constraints

from vaeflow.data.checks import needs
from vaeflow.data.splits import Splits
from vaeflow.errors import VaeflowError
from vaeflow.plugins.registry import BUILTIN, Part
from vaeflow.runs.facts import Facts

_SOME = 2000  # examples by which other likelihoods are tried
_ROOM = 1 << 24  # values of them
_FEW = 16  # levels, each of which may have a probability of its own
_TAILS = 10  # the kurtosis from where on a Student's t suits better than a Gaussian


@dataclass(frozen=True)
class Suggestion:
    """A likelihood with its options, and why.

    Attributes:
        likelihood: its name.
        options: the flags behind it, of the likelihood, the data set and the training.
        why: what of the data calls for it.
    """

    likelihood: str
    why: str
    options: tuple[str, ...] = ()


def suggest(splits: Splits, facts: Facts) -> Suggestion:
    """Return the likelihood that suits the data best."""
    found = _of_table(splits) if splits.columns else _of_values(splits, facts)
    if not facts.missing:
        return found
    mask = () if splits.gaps else ("--missing", "mask")  # a table's gaps are masked anyway
    why = f"{found.why}; missing values are masked, and --objective iwae makes it a MIWAE"
    return Suggestion(found.likelihood, why, (*found.options, *mask))


def _of_table(splits: Splits) -> Suggestion:
    if {column.kind for column in splits.columns} == {"boolean"}:
        return Suggestion("bernoulli", "all columns are true or false")
    return Suggestion("columns", "each column has a law of its kind")


def _of_values(splits: Splits, facts: Facts) -> Suggestion:
    if facts.levels == 2:
        return Suggestion("bernoulli", "all values are 0 or 1")
    if facts.levels is not None:
        return _of_levels(facts.levels)
    if facts.whole and facts.low >= 0:
        return _of_whole(splits, facts)
    if facts.low >= 0 and facts.high <= 1:
        return Suggestion("continuous-bernoulli", "all values are within [0, 1], without levels")
    return _of_numbers(facts)


def _of_levels(levels: int, *more: str) -> Suggestion:
    name = "categorical" if levels <= _FEW else "discretized-logistic"
    options = () if levels == 256 else ("--likelihood.levels", str(levels))
    return Suggestion(name, f"the values are {levels} levels k/{levels - 1}", (*options, *more))


def _of_whole(splits: Splits, facts: Facts) -> Suggestion:
    picture = len(splits.data_shape) > 1
    if picture and 100 < facts.high <= 255:
        grey = _of_levels(256, "--dataset.scale", "255")
        return Suggestion(
            grey.likelihood, "the whole numbers up to 255 are grey levels of 8 bits", grey.options
        )
    if facts.dispersion > 1.2:
        why = f"the whole numbers from 0 on vary {facts.dispersion:.1f} times as much as a Poisson"
        return Suggestion("negative-binomial", why)
    return Suggestion("poisson", "the whole numbers from 0 on vary no more than a Poisson")


def _of_numbers(facts: Facts) -> Suggestion:
    options: tuple[str, ...] = ("--likelihood.scale", "shared")
    why = "the values are numbers"
    deviation = facts.deviation or abs(facts.mean) or 1.0
    if not 0.1 <= deviation <= 10:
        options += ("--dataset.scale", f"{float(f'{deviation:.2g}'):g}")
        why += f" of the deviation {deviation:.3g}, by which they are divided"
    if abs(facts.mean) > 3 * deviation:
        options += ("--scaling", "standardize")
        why += f", around {facts.mean:.3g}, so that the networks see them standardized"
    if facts.peaked > _TAILS:
        return Suggestion("student-t", f"{why}, with far tails", options)
    return Suggestion("gaussian", why, options)


def meetings(splits: Splits, facts: Facts, parts: list[Part]) -> dict[str, str]:
    """Return how each likelihood meets the data: name -> "as it is", or what it needs."""
    some = max(1, min(_SOME, _ROOM // splits.kept("train")[:1].shape.numel()))
    x = splits.kept("train")[:some]
    values = x if isinstance(x, Tensor) else x.values()
    each = {
        part.name if part.distribution == BUILTIN else part.qualified: _meeting(
            part, splits, facts, values
        )
        for part in parts
    }
    return {name: how for name, how in each.items() if how}


def _meeting(part: Part, splits: Splits, facts: Facts, x: Tensor) -> str:
    """Return how a likelihood meets the data, "" if it is of tables, and the data is none."""
    try:
        loaded: Any = part.load()
        takes = (splits.columns,) if getattr(loaded, "takes_columns", False) else ()
        if takes and not splits.columns:
            return ""
        options = _options(loaded, facts)
        support = loaded(splits.data_shape, *takes, **options).support
        good = bool((support.check(x) | x.isnan()).all())
    except VaeflowError as error:
        return f"no: {error}"
    except Exception as error:  # a plugin's
        return f"no: it cannot be built ({type(error).__name__})"
    if good:
        shown = " ".join(f"--likelihood.{name} {value}" for name, value in options.items())
        return f"with {shown}" if shown else "as it is"
    if support is constraints.boolean and facts.low >= 0 and facts.high <= 1:
        return "with --binarization dynamic, which draws 0 or 1 at each visit"
    return f"no: it needs {needs(support)}"


def _options(loaded: Any, facts: Facts) -> Mapping[str, Any]:
    if facts.levels and "levels" in inspect.signature(loaded).parameters:
        return {"levels": facts.levels} if facts.levels != 256 else {}
    return {}
