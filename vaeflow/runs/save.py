"""A model that was fitted in Python, as a run directory."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from vaeflow.config.layers import Layers
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.directory import Run
from vaeflow.storage import write_file
from vaeflow.training.fit import Fitted


def save(fitted: Fitted, path: str | Path, *, plugins: Plugins | None = None) -> Run:
    """Write the outcome of `vaeflow.fit` as a run directory, which `vaeflow.load` reads.

    The directory holds the weights, the configuration and the metrics, and not the data: it can be
    loaded, sampled from and exported, but neither resumed nor evaluated from the shell.

    Arguments:
        fitted: the outcome of `vaeflow.fit`.
        path: the run directory, which must not exist.
        plugins: where the model's parts are looked up; by default all that the environment selects.

    Raises:
        ConfigError: if the directory exists, or the model cannot be described by names.
        StorageError: if the file system refuses.
    """
    if not isinstance(fitted, Fitted):
        raise ConfigError(
            f"save: {type(fitted).__name__} cannot be saved, but the outcome of vaeflow.fit can: "
            'write vaeflow.save(vaeflow.fit(model, x), "runs/mine")'
        )
    run = Run.create(Path(path), _layers(fitted).resolve(plugins or load_plugins()), _facts(fitted))
    model = {k: v.detach() for k, v in fitted.model.state_dict().items()}
    run.store.save(fitted.progress.step, {"model": model}, {"progress": asdict(fitted.progress)})
    lines = [json.dumps(record, allow_nan=False) + "\n" for record in fitted.records]
    write_file(run.path / "metrics.jsonl", "".join(lines))
    run.set_status(fitted.status, epoch=fitted.progress.epoch, step=fitted.progress.step)
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
    if any(p.dtype != torch.float32 for p in model.parameters()):
        raise ConfigError("save: the weights are not float32, as a run's are: call model.float()")
    chosen["objective"] = fitted.objective
    layers = Layers()
    layers.add(
        {
            **fitted.settings.model_dump(exclude_none=True),
            "latent": model.posterior.latent,
            "binarization": fitted.binarization,
            "dequantize": fitted.dequantize,
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
    }
