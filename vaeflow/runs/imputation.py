"""Missing values of data of a run's form, filled in by its model.

Shapes: N examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaeflow.config.signature import options_from, with_options
from vaeflow.data.columns import Column, Columns, spelled
from vaeflow.data.stored import floats
from vaeflow.data.units import readable
from vaeflow.errors import ConfigError
from vaeflow.evaluation.imputation import Imputed, impute_examples
from vaeflow.evaluation.options import Count, Seed
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.filled import Filled
from vaeflow.runs.given import Given
from vaeflow.runs.trained import Trained, TrainedOptions
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.progress import OpenBar, bar_of


@dataclass(frozen=True, kw_only=True)
class ImputationOptions(TrainedOptions):
    """How missing values are filled in.

    Attributes:
        samples: K, draws of q(z|x) for each example.
        seed: of the draws.
    """

    samples: Count = 1000
    seed: Seed = 0


@with_options(ImputationOptions)
def impute(
    model: VAE | str | Path | Run,
    data: object = None,
    *,
    plugins: Plugins | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Filled:
    """Fill in the missing values of data, as `vaeflow impute` does.

    Arguments:
        model: a run, or a model; one that takes missing values.
        data: the path of a table or of an array, a data frame, a mapping from names to columns, or
            an array; by default the run's own data.
        plugins: where the run's parts are looked up; by default all that the environment selects.
        progress: show progress: by default on a terminal and in a notebook.

    Returns:
        The data filled in, with the spread of each filled value and the weights of each example;
        print it to read what was done.

    Raises:
        ConfigError: if the model takes no missing values, or an option cannot be used.
        DataError: if the data is of another form.
        CheckpointError, PluginError: if the run cannot be loaded.
        NonFiniteError: if what was observed of an example is too unlikely.
    """
    chosen = options_from(ImputationOptions, options, "impute")
    bar = bar_of(progress)
    trained = Trained.of(model, chosen, "impute", plugins)
    if trained.run is not None and not trained.model.missing:
        raise ConfigError(
            f"{trained.run.path} was trained with --missing refuse, and its model takes no missing "
            "values: train it again with --missing mask, on data that has gaps"
        )
    levels = None if trained.plan is None else trained.plan.config.dequantize
    return _impute(trained.model, trained.given(data, own=None), chosen, levels, bar)


def _impute(
    model: VAE, given: Given, options: ImputationOptions, levels: int | None, bar: OpenBar
) -> Filled:
    with Blame(model, None).at(lambda: "in imputation"), bar(len(given), "examples") as done:
        imputed = impute_examples(
            model, given.examples, samples=options.samples, seed=options.seed, progress=done
        )
    return _filled(imputed, given, model.columns, levels)


def _filled(imputed: Imputed, given: Given, columns: Columns, levels: int | None) -> Filled:
    """Return what was imputed in the data's own units."""
    if levels:  # grey levels k are at (k + ½)/levels there, not k/(levels − 1)
        shrink = levels / (levels - 1)
        x = (imputed.x - 0.5 / levels) * shrink
        imputed = replace(imputed, x=x, spread=imputed.spread * shrink)
    x = torch.where(imputed.missing, imputed.x, floats(given.raw))
    imputed = replace(imputed, x=x)
    table, spread = _table(imputed, given, columns) if columns else ({}, {})
    gaps = {}
    for name, where in columns.slices().items():
        if count := int(imputed.missing[:, where].any(1).sum()):
            gaps[name] = count
    return Filled(imputed, x.numpy(), table, spread, given, gaps)


def _table(
    imputed: Imputed, given: Given, columns: Columns
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the columns with their gaps filled, and the spread of what was filled in."""
    filled, spread = dict(given.table), {}
    for column, where in zip(columns, columns.slices().values(), strict=True):
        gaps = imputed.missing[:, where].any(1).numpy()
        x = imputed.x[:, where].numpy()
        if not gaps.any():
            continue
        values = readable(column, column.decode(x))
        if column.kind == "count":
            values = np.maximum(np.rint(values), 0).astype(np.int64)
        filled[column.name] = _put(filled[column.name], gaps, values[gaps])
        for name, known in _spread(column, x, imputed.spread[:, where].numpy()).items():
            spread[name] = np.where(gaps, known, np.nan).astype(np.float32)
    weights = {
        "effective_sample_size": imputed.effective_sample_size,
        "pareto_k": imputed.pareto_k,
    }
    return filled, {**spread, **{k: w.numpy().astype(np.float32) for k, w in weights.items()}}


def _put(values: np.ndarray, gaps: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return values with what was found in their gaps; numbers among texts are texts."""
    if any(isinstance(value, bool) for value in values[~gaps]):
        found = found == "true"
    elif found.dtype == object or values.dtype == object:
        values, found = values.astype(object), np.array([*map(spelled, found)], object)
    elif found.dtype == np.float32:
        found = found.astype(str).astype(np.float64)  # with the digits that float32 tells
    values = values.copy() if found.dtype.kind != "i" else np.where(gaps, 0, values).astype(int)
    values[gaps] = found
    return values


def _spread(column: Column, x: np.ndarray, spread: np.ndarray) -> dict[str, np.ndarray]:
    """Return by name the values (N,) that tell how certain a column's values are."""
    if column.kind == "category":
        return {f"{column.name}_probability": x.max(1)}
    if column.kind == "boolean":
        return {f"{column.name}_probability": np.maximum(x[:, 0], 1 - x[:, 0])}
    rounded = {f"{column.name}_mean": x[:, 0]} if column.kind == "count" else {}
    return {**rounded, f"{column.name}_sd": spread[:, 0] * column.spread}
