"""Data sets in memory: their splits, their binarization and the check of their values."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.components import Component
from vaeflow.errors import ConfigError, DataError
from vaeflow.levels import Levels

Binarization = Literal["none", "dynamic", "threshold"]

# The evaluation splits of dynamically binarized data are drawn once, with this seed, for every
# run: a bound on the test set must not depend on the run that reports it.
EVALUATION_SEED = 777


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data, each float32 (N, *data_shape)."""

    train: Tensor
    validation: Tensor
    test: Tensor

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.train.shape[1:])

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        yield from (("train", self.train), ("validation", self.validation), ("test", self.test))

    def fingerprint(self) -> str:
        """Return the SHA-256 of all values and shapes, to recognize the data on resume."""
        digest = hashlib.sha256()
        for name, x in self:
            digest.update(f"{name}{tuple(x.shape)}".encode())
            digest.update(x.contiguous().numpy().data)
        return digest.hexdigest()


class Dataset(Component, ABC):
    """A source of data, `Dataset(root, **options)`; `root` is the directory of its files."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root

    @abstractmethod
    def load(self) -> Splits:
        """Return the splits.

        Raises:
            DataError: if a file is missing, corrupt or of an unexpected format.
        """


def resolve_binarization(
    wanted: Literal["auto"] | Binarization, x: Tensor, support: constraints.Constraint
) -> Binarization:
    """Choose "dynamic" for grey data under a likelihood of binary data, "none" otherwise.

    Raises:
        DataError: if a binarization is asked for and the data is not within [0, 1].
    """
    unit = bool(((x >= 0) & (x <= 1)).all())
    if wanted == "auto":
        grey = unit and not bool(((x == 0) | (x == 1)).all())
        return "dynamic" if support is constraints.boolean and grey else "none"
    if wanted != "none" and not unit:
        raise DataError(
            f"binarization {wanted!r} needs grey values in [0, 1], but the data lies in "
            f"[{x.min().item():g}, {x.max().item():g}]: scale it (--dataset.scale) or use "
            "--binarization none"
        )
    return wanted


def binarize(x: Tensor, how: Binarization) -> Tensor:
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
    grey = (x >= 0) & (x <= 1)
    if not grey.all():
        where = (~grey).nonzero()[0].tolist()
        raise DataError(
            f"binarization {how!r} needs grey values in [0, 1], but example {where[0]} has "
            f"{x[tuple(where)].item():g} at {tuple(where[1:])}: correct or drop it, or use "
            "--binarization none"
        )
    if how == "threshold":
        return (x >= 0.5).to(x.dtype)
    generator = torch.Generator(x.device).manual_seed(EVALUATION_SEED)
    return torch.bernoulli(x, generator=generator)


def dequantize(x: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Spread each grey level k/(levels − 1) over its share of [0, 1], :math:`(k + u)/levels`.

    The density of what results bounds the probability of the levels: with D values,
    −log P ≤ nll + D log(levels) on average over u ~ U[0, 1) (Theis et al. 2016, eq. 3).

    Raises:
        DataError: if a value is no such level.
    """
    inside = Levels(levels).check(x)
    if not inside.all():
        where = (~inside).nonzero()[0].tolist()
        raise DataError(
            f"--dequantize {levels} needs the values k/{levels - 1}, but example {where[0]} has "
            f"{x[tuple(where)].item():g}: give the number of levels of the data"
        )
    return _spread(x, levels, generator)


def _spread(x: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return (Levels(levels).index(x) + u) / levels


def redraw(how: Binarization, levels: int | None) -> Callable[[Tensor], Tensor] | None:
    """Return what a batch of training data passes through at each visit, if anything."""
    if levels is not None:
        return partial(_spread, levels=levels)
    return _draw_binary if how == "dynamic" else None


def _draw_binary(x: Tensor) -> Tensor:
    return torch.rand_like(x).lt_(x)  # torch.bernoulli takes thrice the time


def prepare_split(x: Tensor, how: Binarization, levels: int | None) -> Tensor:
    """Return x as an evaluation sees it, binarized or dequantized: the same in every run.

    Raises:
        ConfigError: if both are asked for.
        DataError: if the values do not fit.
    """
    if levels is None:
        return binarize(x, how)
    if how != "none":
        raise ConfigError(
            f"--dequantize {levels} makes grey values continuous, --binarization {how} makes them "
            "binary: leave one out"
        )
    return dequantize(x, levels, torch.Generator(x.device).manual_seed(EVALUATION_SEED))


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
            f"{tuple(where[1:])}: replace or drop what is not finite"
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
        scale = x.max().item() if levels is None else levels - 1
        return f"divide with --dataset.scale {scale:g}, or use --likelihood gaussian"
    if levels is not None and (last := _last_level(x)) is not None:
        return f"its values are k/{last}: give --likelihood.levels {last + 1}"
    if support is constraints.boolean:
        return "use --binarization dynamic, or --likelihood continuous-bernoulli"
    return "use --likelihood continuous-bernoulli"


def _last_level(x: Tensor) -> int | None:
    """Return n ≤ 255 if grey values look like k/n, else None."""
    values = x[:1000].double().unique()
    n = round(1 / values.diff().min().item()) if len(values) > 1 else 1
    k = values * n
    return n if n <= 255 and bool(((k - k.round()).abs() < 0.01).all()) else None
