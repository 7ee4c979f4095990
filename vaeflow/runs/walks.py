"""Walks through the latent space of a run: between two examples, and along its dimensions."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from vaeflow.config.signature import options_from, with_options
from vaeflow.data.covariates import told
from vaeflow.errors import ConfigError
from vaeflow.evaluation.active_units import ACTIVE, evenly_spaced
from vaeflow.evaluation.options import Seed, Whole
from vaeflow.latents.chosen import check_columns
from vaeflow.latents.codes import encode_examples
from vaeflow.latents.paths import PathKind
from vaeflow.latents.showing import unnamed
from vaeflow.latents.walks import Interpolation, Traversal, interpolation, traversal
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.activity import variances_of, warn_if_collapsed
from vaeflow.runs.directory import Run
from vaeflow.runs.given import Given, own_file
from vaeflow.runs.trained import Choice, Trained, TrainedOptions

log = logging.getLogger("vaeflow")
_EXAMPLES = 1000  # whose codes tell the quantiles
_ROWS = 10  # dimensions that are shown without being named
Steps = Annotated[Whole, Field(ge=2, le=1000)]


@dataclass(frozen=True, kw_only=True)
class WalkOptions(TrainedOptions):
    """Where a walk begins.

    Attributes:
        split: of the run's own data: "train", "validation", "test" or "all"; by default all rows of
            a file, and of other data the test split.
        columns: of a table, which ones the picture draws; by default the first twelve.
        seed: of the draws, from which the mean of q is taken where it has no formula.
    """

    split: Choice | None = None
    columns: Sequence[str] | None = None
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class InterpolationOptions(WalkOptions):
    """How one walks between two examples.

    Attributes:
        steps: how many codes are decoded, with those of the two examples.
        path: "straight", or "spherical", which keeps to the norms of the two codes.
    """

    steps: Steps = 10
    path: PathKind = "straight"


@dataclass(frozen=True, kw_only=True)
class TraversalOptions(WalkOptions):
    """How one walks along single dimensions.

    Attributes:
        example: the row of the example from which all walks begin; by default the first.
        dimensions: which dimensions of z, in this order; by default the active ones, the most
            active first, and ten at most.
        steps: of each walk, over the quantiles of codes from 2 % to 98 %.
    """

    example: int | str | None = None
    dimensions: Sequence[Whole] | None = None
    steps: Steps = 9


@with_options(InterpolationOptions)
def interpolate(
    model: VAE | str | Path | Run,
    a: int | str,
    b: int | str,
    data: object = None,
    *,
    plugins: Plugins | None = None,
    **options: Any,
) -> Interpolation:
    """Walk from the code of one example to that of another, as `vaeflow interpolate` does.

    The codes are E[z|x], after all maps of the flow, and each is decoded to E[x|z].

    Arguments:
        model: a run, or a model.
        a, b: the rows of the two examples, as the file or the split numbers them.
        data: the path of a table or of an array, a data frame, a mapping from names to columns, or
            an array; by default the run's own data.
        plugins: where the run's parts are looked up; by default all that the environment selects.

    Returns:
        The codes `z`, what they decode to, `x`, `.figure()` of matplotlib, and `.save(path)`, which
        writes .png, .svg, .npz or a table.

    Raises:
        ConfigError: if an option cannot be used.
        DataError: if the data cannot be had, or lacks a row.
        CheckpointError, PluginError: if the run cannot be loaded.
    """
    chosen = options_from(InterpolationOptions, options, "interpolate")
    trained = Trained.of(model, chosen, "interpolate", plugins)
    check_drawn(trained.model, chosen.columns)
    given = _by_rows(trained, data, chosen.split)
    rows = given.find(a), given.find(b)
    pair = given.examples[torch.tensor(rows)]
    if pair.condition is not None:
        first, last = told(trained.model.covariates, pair.condition)
        if first != last:
            log.info("all steps have the covariates of %s: %s", given.called(rows[0]), first)
    names = [_named(given, row) for row in rows]
    return interpolation(
        trained.model,
        given.examples,
        rows,
        names=(names[0], names[1] if names[0] != names[1] else names[1] + " again"),
        steps=chosen.steps,
        path=chosen.path,
        seed=chosen.seed,
        ends=_grey(trained, given, rows),
        span=trained.span(given),
        drawn=chosen.columns,
    )


def check_drawn(model: VAE, wanted: Sequence[str] | None) -> None:
    """Check that a model's data has the columns that a picture is to draw.

    Raises:
        ConfigError: if it has not.
    """
    columns = model.columns or unnamed(math.prod(model.data_shape))
    check_columns(wanted, columns, model.data_shape)


def _grey(trained: Trained, given: Given, rows: Sequence[int]) -> np.ndarray | None:
    """Return the grey levels of two examples (2, *data_shape), if the data are draws of them."""
    if trained.plan is None or trained.plan.config.binarization not in ("dynamic", "fixed"):
        return None
    grey = given.raw.index_select(0, torch.tensor(rows))
    return grey.reshape(-1, *trained.model.data_shape).cpu().numpy()


def _by_rows(trained: Trained, data: object, split: Choice | None) -> Given:
    """Return data in which rows are named: by default all of a run's file, else its test data."""
    if data is None and split is None and own_file(trained.plan) is not None:
        given = trained.given(own=None)
        if len({*np.asarray(given.rows).tolist()}) == len(given):
            return given
    return trained.given(data, split, own="test")


def _named(given: Given, row: int) -> str:
    """Return what a picture calls an example: its row, and its first label."""
    label = next((f"\n{name} {_short(v[row])}" for name, v in given.beside.items()), "")
    return given.called(row) + label


def _short(value: Any) -> str:
    number = isinstance(value, float) and value.is_integer()
    return str(int(value) if number else value)[:12]


@with_options(TraversalOptions)
def traverse(
    model: VAE | str | Path | Run,
    data: object = None,
    *,
    plugins: Plugins | None = None,
    **options: Any,
) -> Traversal:
    """Walk along one dimension of z at a time, from the code of an example: `vaeflow traverse`.

    The steps are quantiles of draws of q(z|x) over the data, after all maps of the flow.

    Arguments:
        model: a run, or a model.
        data: the path of a table or of an array, a data frame, a mapping from names to columns, or
            an array; by default the run's own data.
        plugins: where the run's parts are looked up; by default all that the environment selects.

    Returns:
        The codes `z`, what they decode to, `x`, `.figure()` of matplotlib, and `.save(path)`, which
        writes .png, .svg, .npz or a table.

    Raises:
        ConfigError: if an option cannot be used.
        DataError: if the data cannot be had, or lacks the row.
        CheckpointError, PluginError: if the run cannot be loaded.
    """
    chosen = options_from(TraversalOptions, options, "traverse")
    trained = Trained.of(model, chosen, "traverse", plugins)
    check_drawn(trained.model, chosen.columns)
    given = _by_rows(trained, data, chosen.split)
    row = 0 if chosen.example is None else given.find(chosen.example)
    some = evenly_spaced(given.examples, min(len(given), _EXAMPLES))
    draws = 1 if len(some) > 1 else _EXAMPLES
    codes, _ = encode_examples(trained.model, some, draws=draws, seed=chosen.seed)
    variances = variances_of(trained.model, some, chosen.seed)
    dimensions = _dimensions(chosen.dimensions, variances)
    return traversal(
        trained.model,
        given.examples,
        row,
        codes.flatten(0, 1),
        dimensions,
        [variances[i] for i in dimensions],
        name=_named(given, row).replace("\n", ", "),
        steps=chosen.steps,
        seed=chosen.seed,
        span=trained.span(given),
        drawn=chosen.columns,
    )


def _dimensions(wanted: Sequence[int] | None, variances: Sequence[float]) -> list[int]:
    """Return the dimensions that are shown.

    Raises:
        ConfigError: if there is no such dimension.
    """
    if wanted is not None:
        for i in wanted:
            if not 0 <= i < len(variances):
                raise ConfigError(
                    f"--dimensions {i}: z has the dimensions 0 to {len(variances) - 1}; name some "
                    "of these"
                )
        if wanted:
            return list(wanted)
    if any(math.isnan(variance) for variance in variances):
        log.info(
            "the data is one example, which has no Var E[z_i|x]: the dimensions are shown in their "
            "order, and the steps are quantiles of its own q(z|x)"
        )
        return [*range(len(variances))][:_ROWS]
    order = sorted(range(len(variances)), key=lambda i: -variances[i])
    active = [i for i in order if not variances[i] < ACTIVE]
    warn_if_collapsed(variances)
    if 0 < len(active) < len(order):
        log.info(
            "%d of %d dimensions are active; --dimensions shows others", len(active), len(order)
        )
    return (active or order)[:_ROWS]
