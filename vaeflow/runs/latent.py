"""The latent space of a run as a picture: the codes of data by their labels, or its manifold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaeflow.config.signature import options_from, with_options
from vaeflow.data.covariates import given_covariates
from vaeflow.data.examples import Examples
from vaeflow.data.units import in_units
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.evaluation.active_units import evenly_spaced
from vaeflow.evaluation.options import Seed
from vaeflow.latents.codes import encode_examples
from vaeflow.latents.plane import Latent, Manifold
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.activity import variances_of, warn_if_collapsed
from vaeflow.runs.directory import Run
from vaeflow.runs.given import Given
from vaeflow.runs.load import span_of_run
from vaeflow.runs.trained import Choice, Trained, TrainedOptions
from vaeflow.runs.walks import check_drawn
from vaeflow.runtime.progress import bar_of

log = logging.getLogger("vaeflow")
_EXAMPLES = 10_000  # more points hide each other
_MEASURED = 1000  # tell whether any dimension is active


@dataclass(frozen=True, kw_only=True)
class LatentOptions(TrainedOptions):
    """What is drawn of a latent space.

    Attributes:
        split: of the run's own data: "all", by default, "train", "validation" or "test".
        label: by which the points are coloured: a label, an id, a column, or "split"; by default
            the first label, one that is no covariate of the model if there is any.
        manifold: decode a grid of quantiles of the prior, for two latent dimensions, instead of
            encoding data.
        columns: of a table, which ones the manifold draws; by default the first twelve.
        seed: of the draws, from which the mean of q is taken where it has no formula.
    """

    split: Choice | None = None
    label: str | None = None
    manifold: bool = False
    columns: Sequence[str] | None = None
    seed: Seed = 0


@with_options(LatentOptions)
def latent(
    model: VAE | str | Path | Run,
    data: object = None,
    *,
    plugins: Plugins | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Latent | Manifold:
    """Lay the codes of data into a plane, coloured by a label, as `vaeflow latent` does.

    The codes are E[z|x], after all maps of the flow: z itself for L = 2, otherwise their first two
    principal components.

    Arguments:
        model: a run, or a model.
        data: the path of a table or of an array, a data frame, a mapping from names to columns, or
            an array; by default all of the run's own data.
        plugins: where the run's parts are looked up; by default all that the environment selects.
        progress: show progress: by default on a terminal and in a notebook.

    Returns:
        The codes `z` and `points`, `.figure()` of matplotlib, and `.save(path)`, which writes .png,
        .svg, .npz or a table.

    Raises:
        ConfigError: if an option cannot be used.
        DataError: if the data cannot be had, or is of another form.
        CheckpointError, PluginError: if the run cannot be loaded.
    """
    chosen = options_from(LatentOptions, options, "latent")
    bar = bar_of(progress)
    trained = Trained.of(model, chosen, "latent", plugins)
    if chosen.manifold:
        return _manifold(trained, chosen, data)
    if chosen.columns is not None:
        raise ConfigError(
            f"--columns {','.join(chosen.columns)} chooses for --manifold: give both, or "
            "colour the codes by a column, as in --label NAME"
        )
    given = trained.given(data, chosen.split, own="all")
    which = np.arange(len(given))
    if len(given) > _EXAMPLES:
        log.info("%d of %d examples are drawn, evenly spaced", _EXAMPLES, len(given))
        which = np.linspace(0, len(given) - 1, _EXAMPLES).round().astype(int)
    some = given.examples if len(which) == len(given) else given.examples[torch.from_numpy(which)]
    few = evenly_spaced(some, min(len(some), _MEASURED))
    warn_if_collapsed(variances_of(trained.model, few, chosen.seed))
    name, values = _label(given, trained.model, chosen.label)
    with bar(len(which), "examples") as done:
        z, _ = encode_examples(trained.model, some, seed=chosen.seed, progress=done)
    beside = {key: column[which] for key, column in given.named.items()}
    return Latent.of(z.numpy(), None if values is None else values[which], name, beside)


def _manifold(trained: Trained, options: LatentOptions, data: object) -> Manifold:
    """Return the manifold, with the covariates that are given.

    Raises:
        ConfigError: if z has not two dimensions, or data is named.
    """
    model = trained.model
    if (count := model.posterior.latent) != 2:
        raise ConfigError(
            f"--manifold: z has {count} dimensions, but the grid is a plane of 2; train with "
            "--latent 2, or look at single dimensions by `vaeflow traverse`"
        )
    for name, value in {"data": data, "split": options.split, "label": options.label}.items():
        if value is not None:
            raise ConfigError(f"--{name} {value}: the manifold needs no data; leave it out")
    beside = None
    if model.covariates:
        known = given_covariates(model.covariates, options.condition or {})
        beside = Examples(known, known)
    span = (0.0, 1.0) if trained.run is None else span_of_run(trained.run)
    check_drawn(model, options.columns)
    return Manifold.of(model, beside, span, options.columns)


def _label(given: Given, model: VAE, wanted: str | None) -> tuple[str, np.ndarray | None]:
    """Return the name and the values (N,) of the label that colours the points.

    Raises:
        ConfigError: if the data has no such label.
    """
    known = {**given.table, **given.named}
    if wanted is None:
        labels = {n: v for n, v in given.beside.items() if not tells_rows_apart(v)}
        # The decoder is given the covariates: z should tell nothing of them.
        name = next((n for n in labels if n not in model.covariates.names), next(iter(labels), ""))
        if len(labels) > 1:
            log.info("coloured by %s; --label chooses among %s", name, ", ".join(labels))
        return name, labels.get(name)
    if wanted in known:
        return wanted, known[wanted]
    if wanted in model.columns.names:
        return wanted, in_units(model.columns, given.examples.values.cpu().numpy())[wanted]
    names = [*given.named, *model.columns.names]
    raise ConfigError(
        f"--label {wanted}: the data has no such label{did_you_mean(wanted, names)}; it has "
        f"{', '.join(names)}"
    )


def tells_rows_apart(values: np.ndarray) -> bool:
    """Tell whether values are ids, which are nearly all different texts."""
    return values.dtype == object and len({*values.tolist()}) > len(values) / 2
