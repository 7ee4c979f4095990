"""A model that was fitted in Python, as a run directory."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from vaeflow.config.layers import Layers
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.build import build_model
from vaeflow.runs.directory import Run
from vaeflow.training.checkpoints import check_fit
from vaeflow.training.fit import Fitted
from vaeflow.training.observers.metrics_file import write_metrics


def save(fitted: Fitted, path: str | Path, *, plugins: Plugins | None = None) -> Run:
    """Write the outcome of `vaeflow.fit` as a run directory, which `vaeflow.load` reads.

    The directory holds the weights with which the fit ended, the configuration and the metrics, and
    not the data: it can be loaded and sampled from, but neither resumed nor evaluated in the shell.

    Arguments:
        fitted: the outcome of `vaeflow.fit`.
        path: the run directory, which must not exist.
        plugins: where the model's parts are looked up; by default all that the environment selects.

    Raises:
        ConfigError: if the directory exists, or the model cannot be described by names.
        CheckpointError: if a part of the model was exchanged after it was built.
        StorageError: if the file system refuses.
    """
    if not isinstance(fitted, Fitted):
        raise ConfigError(
            f"save: {type(fitted).__name__} cannot be saved, but the outcome of vaeflow.fit can: "
            'write vaeflow.save(vaeflow.fit(model, x), "runs/mine")'
        )
    if Path(path).exists():
        raise ConfigError(
            f"save: {path} exists, and nothing is overwritten: choose another directory"
        )
    plan = _layers(fitted).resolve(plugins or load_plugins())
    check_fit(build_model(plan, fitted.model.form), fitted.best)  # a part was exchanged?
    progress = fitted.progress
    run = Run.create(Path(path).absolute(), plan, _facts(fitted))
    try:
        run.store.save(progress.step, {"model": fitted.best}, {"progress": asdict(progress)})
        write_metrics(run.path / "metrics.jsonl", fitted.records)
        run.set_status(fitted.status, epoch=progress.epoch, step=progress.step)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)  # no half of a run is left
        raise
    return run


def _layers(fitted: Fitted) -> Layers:
    """Return the configuration of the model and of its training.

    Raises:
        ConfigError: if a part was not chosen by its name.
    """
    model, chosen = fitted.model, dict(fitted.model.chosen)
    if not chosen:
        raise ConfigError(
            "save: the model was built of objects, and a run directory names its parts: build it "
            "with vaeflow.build, or keep model.state_dict() by safetensors.torch.save_file"
        )
    if fitted.objective is None:
        raise ConfigError(
            "save: the objective was given as an object, and a run directory names it: give its "
            'name, as in objective=("iwae", {"samples": 5})'
        )
    if any(w.is_floating_point() and w.dtype != torch.float32 for w in fitted.best.values()):
        raise ConfigError("save: the weights are not float32, as a run's are: fit model.float()")
    chosen["objective"] = fitted.objective
    layers = Layers()
    layers.add(
        {
            **fitted.settings.model_dump(exclude_none=True),
            "latent": model.posterior.latent,
            "binarization": fitted.binarization,
            "dequantize": fitted.dequantize,
            "scaling": model.scaling.kind,
            "condition": model.covariates.names,
            "missing": "mask" if model.missing else "refuse",
            "dataset": {"name": "given"},
            **{kind: {**part.options, "name": part.name} for kind, part in chosen.items()},
        },
        "save",
    )
    return layers


def _facts(fitted: Fitted) -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "ranks": 1,
        "data_shape": fitted.model.data_shape,
        "data_sizes": {**fitted.data_sizes, "test": 0},
        "data_sha256": fitted.data_sha256,
        "columns": fitted.model.columns.as_list(),
        "covariates": fitted.model.covariates.as_list(),
    }
