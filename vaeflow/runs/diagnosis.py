"""The diagnosis of a run: its model, images and families of q, and the files that keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vaeflow.config.layers import Plan
from vaeflow.diagnosis.diagnose import DiagnosisOptions, Family, diagnose
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.files import check_new, write
from vaeflow.diagnosis.local_bounds import GAUSSIAN
from vaeflow.errors import ConfigError
from vaeflow.evaluation.options import Count, Split, Weights
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import build_posterior, images_of, load_data
from vaeflow.runs.directory import Run
from vaeflow.runs.load import load
from vaeflow.runtime.progress import OpenBar, no_bar
from vaeflow.version import __version__


@dataclass(frozen=True, kw_only=True)
class RunDiagnosisOptions(DiagnosisOptions):
    """How a run is diagnosed.

    Attributes:
        images: the first N of the split, and as many simulated ones.
        split: "train", "validation" or "test".
        weights: "best" or "last".
        richer: families of q beside the run's own and the diagonal Gaussian; see `families`.
        device: "auto", "cpu", "cuda", …
        data_root: where the data lies, if it has moved.
        out: a directory for diagnosis.json and, of latent size 2, posteriors.png.
    """

    images: Count = 50
    split: Split = "test"
    weights: Weights = "best"
    richer: Sequence[str] = ()
    device: str = "auto"
    data_root: Path | None = None
    out: Path | None = None


def diagnose_run(
    run: Run,
    plugins: Plugins,
    options: RunDiagnosisOptions | None = None,
    *,
    progress: OpenBar = no_bar,
) -> Diagnosis:
    """Diagnose the model of a run on its data, and write the files that are asked for.

    Arguments:
        run: a trained run.
        plugins: where the run's parts are looked up.
        options: how; by default as `vaeflow diagnose` does.
        progress: opens a bar over the images of each stage.

    Raises:
        ConfigError: if a family is unknown, or if a file would be overwritten.
        CheckpointError, PluginError, DataError: if the run cannot be loaded.
        NonFiniteError: if a bound is not a number.
        StorageError: if a file cannot be written.
    """
    options = options or RunDiagnosisOptions()
    if options.out is not None:
        check_new(options.out)
    plan = run.plan(plugins)
    if options.data_root is not None:
        plan = plan.but(data_root=options.data_root.absolute())
    chosen = families(plan, options.richer)
    model = load(run.path, device=options.device, weights=options.weights, plugins=plugins)
    x = images_of(load_data(plan), options.split, plan.config)[: options.images]
    found = diagnose(model, x, chosen, options, progress=progress)
    found = replace(found, about=_about(run, plan, options))
    if options.out is None:
        return found
    return replace(found, written=tuple(write(found, model, x, options.out, seed=options.seed)))


def _about(run: Run, plan: Plan, options: RunDiagnosisOptions) -> dict[str, Any]:
    """Return the model, the data and the options on which the numbers depend."""
    return {
        "run": run.path.resolve().name,
        "dataset": plan.config.dataset.name,
        "split": options.split,
        "binarization": plan.config.binarization,
        "weights": options.weights,
        "seed": options.seed,
        "temperatures": options.temperatures,
        "chains": options.chains,
        "vaeflow": __version__,
    }


def families(plan: Plan, richer: Sequence[str] = ()) -> dict[str, Family]:
    """Return the run's own family by name, then a flow's Gaussian, and the richer families.

    The own family has the run's options, the others their defaults. By default a Gaussian's richer
    family is `planar`; for all others it is `mixture`, which can have several modes. Both can give
    each image a q of its own.

    Raises:
        ConfigError: if there is no posterior of a name.
    """
    own, spelling = plan.parts["posterior"], plan.plugins.registry.spelling
    if not richer:
        richer = ["planar" if own.name in _NO_FLOWS else "mixture"]
    found = {spelling(own): _family(plan)}
    for name in (GAUSSIAN, *richer):
        try:
            other = plan.choosing("posterior", name)
        except ConfigError as error:
            raise ConfigError(error.args[0].replace("--posterior", "--richer", 1)) from None
        found.setdefault(spelling(other.parts["posterior"]), _family(other))
    return found


_NO_FLOWS = (GAUSSIAN, "full-gaussian", "householder", "mixture")


def _family(plan: Plan) -> Family:
    return lambda features: build_posterior(plan, features)
