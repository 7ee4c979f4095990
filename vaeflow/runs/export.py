"""A part of a run's model as a program in a file."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vaeflow.config.signature import options_from, with_options
from vaeflow.data.examples import Examples
from vaeflow.errors import DataError
from vaeflow.evaluation.options import Weights
from vaeflow.model import VAE
from vaeflow.parts.datasets.files.written import check_new
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.programs.formats import FORMATS, format_named, format_of
from vaeflow.programs.written import Exported, export_model
from vaeflow.runs.build import images_of
from vaeflow.runs.directory import Run
from vaeflow.runs.paths import path_of

log = logging.getLogger("vaeflow")

_EXAMPLES = 100  # on which a file is compared with its model


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and how.

    Attributes:
        part: "encoder", "decoder" or "sampler".
        format: "torch-export" or "onnx"; by default the one of the file's ending.
        weights: of the model: "best" or "last".
        data_root: where the run's own data lies, if it has moved.
    """

    part: str = "encoder"
    format: str | None = None
    weights: Weights = "best"
    data_root: Path | None = None


@with_options(ExportOptions)
def export(
    model: VAE | str | Path | Run,
    out: str | Path | None = None,
    *,
    plugins: Plugins | None = None,
    **options: Any,
) -> Exported:
    """Write a part of a model as a program that runs without vaeflow, as `vaeflow export` does.

    The encoder takes x and noise, and gives z, a draw of q(z|x) through all its maps, log q(z|x) in
    nats, and the mean of q where it has one by formula. The decoder takes z, and gives the mean of
    p(x|z) and the output of which it is made. The sampler takes noise, and gives the mean of p(x|z)
    at a draw z of the prior. Noise is standard normal; of conditioned models, `condition` joins the
    inputs. The file is run and compared with the model on test examples.

    Arguments:
        model: a run, or a model.
        out: the new file, .pt2 or .onnx; by default RUN-PART with the ending of the format, in the
            working directory.
        plugins: where the run's parts are looked up; by default all that the environment selects.

    Returns:
        What was written; print it to read its inputs and outputs, and how near the model it is.

    Raises:
        ConfigError: if the part, the format or the file cannot be used, torch cannot write the
            part, or the file computes anything else than the model.
        CheckpointError, PluginError: if the run cannot be loaded.
        StorageError: if the file cannot be written.
    """
    chosen = options_from(ExportOptions, options, "export")
    if out is None:
        name = "model" if isinstance(model, VAE) else _name(model)
        ending = FORMATS[format_named(chosen.format or "torch-export")].ending
        out = f"{name}-{chosen.part}{ending}"
    path = Path(out)
    form = format_of(path, chosen.format)
    check_new(path, FORMATS[form].ending)
    about: dict[str, Any] = {}
    if isinstance(model, VAE):
        model = model if model.device.type == "cpu" else deepcopy(model).cpu()
        examples = _drawn(model)
    else:
        run = model if isinstance(model, Run) else Run.open(path_of(model, "export"))
        plugins = plugins or load_plugins()
        model = run.load(weights=chosen.weights, plugins=plugins)
        examples = _examples(run, model, plugins, chosen)
        about = {
            "run": _name(run),
            "run_id": run.id,
            "weights": chosen.weights,
            "config": run.settings(),
        }
    return export_model(model, path, examples, part=chosen.part, form=form, about=about)


def _name(run: str | Path | Run) -> str:
    """Return the name of a run's directory."""
    path = run.path if isinstance(run, Run) else path_of(run, "export")
    return path.absolute().name


def _examples(run: Run, model: VAE, plugins: Plugins, options: ExportOptions) -> Examples:
    """Return test examples of a run, or draws of its model where its data is not at hand."""
    plan = run.plan(plugins)
    if options.data_root is not None:
        plan = plan.but(data_root=options.data_root.absolute())
    try:
        return images_of(run.data(plan), "test", plan.config)[:_EXAMPLES].read()
    except DataError as error:
        log.info("the file is compared with the model on draws of the model: %s", error)
        return _drawn(model)


def _drawn(model: VAE) -> Examples:
    """Return draws of a model, with the first level or the mean of each covariate."""
    condition = torch.zeros(_EXAMPLES, len(model.covariates)) if model.covariates else None
    beside = None if condition is None else Examples(condition, condition)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Examples(model.sample(_EXAMPLES, mean=False, condition=beside), condition)
