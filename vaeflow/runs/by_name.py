"""Models and runs from Python, with every part by its name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vaeflow.config.files import read_recipe
from vaeflow.config.layers import Layers, Plan, part_table
from vaeflow.config.settings import Config
from vaeflow.config.signature import documented, options_from, with_options
from vaeflow.data.columns import Columns
from vaeflow.data.conditioning import condition_on
from vaeflow.data.covariates import describe
from vaeflow.data.splits import Form, Splits
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.model import VAE
from vaeflow.nn.scaling import ScalingKind
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.runs.again import train_or_resume
from vaeflow.runs.build import build_model
from vaeflow.runs.diagnosis import RunDiagnosisOptions, diagnose_run
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import Outcome, Watch
from vaeflow.runs.experiment import train as train_plan
from vaeflow.runs.paths import new_path, path_of
from vaeflow.runtime.progress import bar_of
from vaeflow.training import Observer
from vaeflow.training.observers import checked
from vaeflow.training.observers.progress import shown

_PARTS = ("encoder", "posterior", "prior", "decoder", "likelihood")


@documented(Config.model_fields)
def train(
    run_dir: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
    plugins: Plugins | None = None,
    or_resume: bool = False,
    **settings: Any,
) -> Run:
    """Train and evaluate a model in a new run directory, as `vaeflow train` does.

    Each part is a name, or a name with its options: posterior=("planar", {"steps": 8}).

    Arguments:
        run_dir: the run directory, which must not exist; by default runs/<time>-<parts>.
        recipe: a recipe, or the path of a TOML file, over which the settings are laid.
        observers: objects of subclasses of `vaeflow.training.Observer`.
        progress: show progress: by default on a terminal and in a notebook.
        plugins: where the parts are looked up; by default all that the environment selects.
        or_resume: go on with the run in `run_dir` if it is there, and is of the same settings.

    Returns:
        The run: `run.model`, `run.summary`, `run.metrics`, `run.path`.

    Raises:
        ConfigError: if a setting, a part or the directory cannot be used.
        DataError: if the data cannot be had or scored.
        PluginError, NonFiniteError, StorageError: as the training calls for.
    """
    layers = Layers()
    if recipe is not None:
        layers.add(read_recipe(str(recipe)), f"recipe {recipe}")
    layers.add(_nested(settings, "train"), "train")
    watching = [*shown(progress), *checked(observers)]
    plan = layers.resolve(plugins or load_plugins())
    # Absolute: the run is found again after a change of the working directory.
    path = None if run_dir is None else path_of(run_dir, "train").absolute()
    bar = bar_of(progress)
    watch = Watch(observers=lambda run, experiment: watching, bar=bar)
    outcome: Outcome | None
    if or_resume:
        outcome = train_or_resume(plan, path, watch)
    else:
        outcome = train_plan(plan, path or new_path(Path("runs").absolute(), plan.config), watch)
    if outcome is None:  # it was complete before
        assert path is not None
        return Run(path)
    return outcome.run


@with_options(RunDiagnosisOptions)
def diagnose(
    run: str | Path | Run,
    *,
    plugins: Plugins | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Diagnosis:
    """Tell where a run loses log p(x) − ELBO: to the family of q, or to its encoder.

    Arguments:
        run: a run directory.
        plugins: where its parts are looked up; by default all that the environment selects.
        progress: show progress: by default on a terminal and in a notebook.

    Returns:
        The diagnosis, in nats per example; print it to read its findings.

    Raises:
        ConfigError: if an option cannot be used.
        CheckpointError, PluginError, DataError: if the run cannot be loaded.
        NonFiniteError: if a bound is not a number.
    """
    opened = run if isinstance(run, Run) else Run.open(path_of(run, "diagnose"))
    chosen = options_from(RunDiagnosisOptions, options, "diagnose")
    bar = bar_of(progress)
    return diagnose_run(opened, plugins or load_plugins(), chosen, progress=bar)


def build(
    data_shape: Iterable[int] | Splits,
    *,
    latent: int = 20,
    seed: int = 0,
    scaling: Literal["auto"] | ScalingKind = "auto",
    missing: Literal["auto", "refuse", "mask"] = "auto",
    condition: Mapping[str, Any] | Sequence[str] | None = None,
    columns: Columns | None = None,
    plugins: Plugins | None = None,
    **parts: Any,
) -> VAE:
    """Build a model of parts chosen by name: build((1, 28, 28), posterior="planar").

    Arguments:
        data_shape: the shape of one example, such as x.shape[1:]; or the splits of a data set, such
            as vaeflow.datasets.Table.of(frame), with their columns.
        latent: L, the size of z.
        seed: of the weights: the same weights as a run of this seed begins with.
        scaling: the scale on which encoder and decoder see data, which the likelihood scores as it
            is; "auto" is "log1p" under a likelihood of unbounded counts, else "raw".
        missing: "mask" takes NaN in data for a missing value: the encoder sees 0 and a mask, and
            log p(x|z) is that of the observed values; "auto" does so for splits with gaps.
        condition: name -> the training data's values (N,) of each covariate: texts and few whole
            numbers are levels, other numbers are standardized; of splits, the names of labels and
            columns.
        columns: of a table, such as `vaeflow.datasets.Table.of(frame).columns`; splits have them.
        plugins: where the parts are looked up; by default all that the environment selects.
        parts: encoder, posterior, prior, decoder and likelihood, each a name or a name with its
            options: likelihood=("gaussian", {"scale": "shared"}).

    Raises:
        ConfigError: if a part or an option is unknown.
        PluginError: if a part cannot be built.
    """
    for kind in parts:
        if kind not in _PARTS:
            raise ConfigError(
                f"build: unknown argument {kind!r}{did_you_mean(kind, _PARTS)}; the parts of a "
                f"model are {', '.join(_PARTS)}"
            )
    form, gaps = _form(data_shape, columns or Columns(), condition or {})
    given = {**parts, "latent": latent, "seed": seed, "scaling": scaling}
    given["missing"] = ("mask" if gaps else "refuse") if missing == "auto" else missing
    given["condition"] = form.covariates.names
    plan = _plan(given, "build", plugins or load_plugins())
    return build_model(plan, form)


def _form(
    data: Iterable[int] | Splits, columns: Columns, condition: Mapping[str, Any] | Sequence[str]
) -> tuple[Form, bool]:
    """Return what a model must know of data, and whether values are missing."""
    if isinstance(data, Splits):
        return condition_on(data, [*condition]).form, data.gaps
    if not isinstance(condition, Mapping):
        raise ConfigError(
            f"build: condition is {condition!r}, but name -> values is expected beside a shape: "
            "give the training data's values of each covariate, or the splits of a data set"
        )
    covariates = [describe(name, np.asarray(values)) for name, values in condition.items()]
    return Form(_shape(data), columns, Columns(tuple(covariates))), False


def _plan(settings: Mapping[str, Any], source: str, plugins: Plugins) -> Plan:
    layers = Layers()
    layers.add(_nested(settings, source), source)
    return layers.resolve(plugins)


def _nested(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return settings as a TOML file nests them."""
    return {
        key: part_table(key, value, source) if key in KINDS else value
        for key, value in settings.items()
    }


def _shape(given: Iterable[int]) -> tuple[int, ...]:
    try:
        shape = () if isinstance(given, str) else tuple(operator.index(size) for size in given)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ConfigError(
            f"build: data_shape is {given!r}, but the shape of one example, such as (1, 28, 28), "
            "is expected: give x.shape[1:]"
        )
    return shape
