"""Missing values of data of a run's form, filled in by its model.

Shapes: N examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaeflow.config.signature import options_from, with_options
from vaeflow.data.columns import Column, Columns, spelled
from vaeflow.data.kinds import is_index
from vaeflow.data.stored import floats
from vaeflow.data.units import readable
from vaeflow.errors import ConfigError, spoken
from vaeflow.evaluation.imputation import Imputed, impute_examples
from vaeflow.evaluation.options import Count, Seed
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.given import Given
from vaeflow.runs.trained import Trained, TrainedOptions
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.progress import OpenBar, bar_of
from vaeflow.text import html_columns, html_table


@dataclass(frozen=True, kw_only=True)
class ImputationOptions(TrainedOptions):
    """How missing values are filled in.

    Attributes:
        samples: K, draws of q(z|x) for each example.
        seed: of the draws.
    """

    samples: Count = 1000
    seed: Seed = 0


@dataclass(frozen=True)
class Filled:
    """N examples with their missing values filled in, in the data's own units.

    Attributes:
        imputed: the examples as the model takes them, the spread of each value, and the weights.
        columns: of a table, name -> values (N,): its own, and in its gaps the mean given what was
            observed of the row, or the most probable level.
        spread: of each column with a gap, what is known of the filled values, NaN of observed ones:
            age_sd, the standard deviation of a number, site_probability, of the level, and
            visits_mean, the mean that is rounded for a count.
        x: of arrays (N, *data_shape); of a table, its values as the model takes them.
        given: the data as it came.
        gaps: of a table, column -> how many of its values were filled in.
    """

    imputed: Imputed
    x: np.ndarray
    columns: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    given: Given
    gaps: Mapping[str, int]

    def call(self, index: int) -> str:
        """Return how messages call an example."""
        split = "" if self.given.splits is None else f"{self.given.splits[index]} "
        return f"{split}{'row' if self.columns else 'example'} {self.given.rows[index]}"

    def _repr_html_(self) -> str:
        if not self.columns:
            return html_table("Filled", [("examples", f"{len(self.x):,}"), ("told", self)])
        return html_columns("Filled", {**self.key, **self.columns})

    @property
    def key(self) -> dict[str, np.ndarray]:
        """Return what tells the rows apart: ids, which are all different, or else their numbers."""
        ids = {
            name: values
            for name, values in self.given.beside.items()
            if not is_index(name) and _whole(values) and len({*values.tolist()}) == len(values)
        }
        return ids or {"row": np.asarray(self.given.rows)}

    def __str__(self) -> str:
        """Return in sentences what was filled in, and how far it is to be trusted."""
        return spoken("\n".join(_told(self)))


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
        progress: show progress: by default on a terminal.

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


def _whole(values: np.ndarray) -> bool:
    """Tell whether values are texts or whole numbers, and none is missing."""
    if values.dtype == object:
        return not _count_gaps(values)
    return bool((values == np.floor(values)).all())


def _count_gaps(values: np.ndarray) -> int:
    return sum(spelled(value) is None for value in values.tolist())


def _listed(counts: Mapping[str, int]) -> str:
    """Return "age 12, site 3, …"."""
    each = [f"{name} {count:,}" for name, count in counts.items()]
    more = f", … ({len(each)} columns)" if len(each) > 10 else ""
    return ", ".join(each[:10]) + more


def _told(found: Filled) -> Iterator[str]:
    of = found.imputed
    if left := {name: n for name, v in found.columns.items() if (n := _count_gaps(v))}:
        yield f"left empty, in columns that the model does not know: {_listed(left)}"
    if not of.missing.any():
        yield "no value is missing: nothing is filled in"
        return
    what = "row" if found.columns else "example"
    count, each = int(of.missing.sum()), ""
    if found.gaps:
        count = sum(found.gaps.values())
        each = f": {_listed(found.gaps)}"
    some = of.incomplete
    yield f"filled {count:,} values in {int(some.sum()):,} of {len(of):,} {what}s{each}"
    sizes = of.effective_sample_size
    least = int(sizes.nan_to_num(nan=math.inf).argmin())
    yield (
        f"effective sample size of K = {of.draws:,} draws: {sizes[some].median():.0f} (median), "
        f"{sizes[least]:.0f} ({found.call(least)}, the least)"
    )
    bad = of.unreliable.nonzero()[:, 0].tolist()
    if bad:
        shown = ", ".join(map(found.call, bad[:5])) + (", …" if len(bad) > 5 else "")
        what += "s" * (len(bad) > 1)
        yield (
            f"weights unreliable (Pareto-k̂ above {UNRELIABLE}) of {len(bad):,} {what}: {shown}; "
            "more draws do not mend a proposal that fits badly: train for more --epochs, with "
            "--objective iwae, or with a flow such as --posterior planar"
        )
