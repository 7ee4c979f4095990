"""The diagnosis of a run: its model, images and families of q, and the files that keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vaeflow.config.layers import Plan
from vaeflow.data.covariates import told
from vaeflow.data.examples import Data
from vaeflow.data.splits import Splits
from vaeflow.diagnosis.diagnose import diagnose
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.files import check_new, write
from vaeflow.diagnosis.local_bounds import GAUSSIAN
from vaeflow.diagnosis.options import DiagnosisOptions
from vaeflow.diagnosis.stages import Family
from vaeflow.diagnosis.stored import StageFiles
from vaeflow.errors import ConfigError
from vaeflow.evaluation.options import Count, Split, Weights
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import build_posterior, images_of
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
        again: use none of the kept figures.
    """

    images: Count = 50
    split: Split = "test"
    weights: Weights = "best"
    richer: Sequence[str] = ()
    device: str = "auto"
    data_root: Path | None = None
    out: Path | None = None
    again: bool = False


@dataclass(frozen=True)
class RunDiagnosis:
    """A diagnosis of a run, ready to begin, or to go on where it was interrupted.

    The run directory keeps the figures of each stage, under the data, weights, options, seed, parts
    and versions that they depend on. A diagnosis goes on from all that are its own.
    """

    run: Run
    plan: Plan
    families: Mapping[str, Family]
    model: VAE
    images: Data
    names: Sequence[str]  # of the images, where they have labels
    options: RunDiagnosisOptions
    stages: StageFiles

    @classmethod
    def of(
        cls, run: Run, plugins: Plugins, options: RunDiagnosisOptions | None = None
    ) -> RunDiagnosis:
        """Load the model and the images of a run.

        Raises:
            ConfigError: if a family is unknown, or if a file would be overwritten.
            CheckpointError, PluginError, DataError: if the run cannot be loaded.
        """
        options = options or RunDiagnosisOptions()
        if options.out is not None:
            check_new(options.out)
        plan = run.plan(plugins)
        if options.data_root is not None:
            plan = plan.but(data_root=options.data_root.absolute())
        chosen = families(plan, options.richer)
        model = load(run.path, device=options.device, weights=options.weights, plugins=plugins)
        splits = run.data(plan)
        x = images_of(splits, options.split, plan.config)[: options.images].read()
        stages = StageFiles(
            run.path / "diagnoses", {**_whose(run), **_parts(plan)}, again=options.again
        )
        names = _names(splits, options.split)
        return cls(run, plan, chosen, model, x, names, options, stages)

    def measure(self, progress: OpenBar = no_bar) -> Diagnosis:
        """Measure the stages that are left, and write the files that are asked for.

        `progress` opens a bar over the images of each stage.

        Raises:
            NonFiniteError: if a bound is not a number.
            PluginError: naming the part that fails.
            StorageError: if a file of `out` cannot be written.
        """
        model, x, options = self.model, self.images, self.options
        found = diagnose(model, x, self.families, options, keeper=self.stages, progress=progress)
        found = replace(found, about=_about(self.run, self.plan, options))
        if options.out is None:
            return found
        files = write(found, model, x, options.out, names=self.names, seed=options.seed)
        return replace(found, written=tuple(files))


def diagnose_run(
    run: Run,
    plugins: Plugins,
    options: RunDiagnosisOptions | None = None,
    *,
    progress: OpenBar = no_bar,
) -> Diagnosis:
    """Diagnose the model of a run on its data, as `RunDiagnosis` does."""
    return RunDiagnosis.of(run, plugins, options).measure(progress)


_MODEL = ("encoder", "posterior", "prior", "decoder", "likelihood", "latent", "scaling")


def _names(splits: Splits, split: str, count: int = 10) -> list[str]:
    """Return the covariates of the first examples in words, else their class labels."""
    if splits.covariates:
        return told(splits.covariates, splits.condition[split][:count])
    labels = splits.labels.get(split, {})
    names = [name for name in ("digit", "label") if name in labels]
    return [f"{name} {label}" for name in names[:1] for label in labels[name][:count]]


def _whose(run: Run) -> dict[str, str]:
    """Return the id of a run; the keys of an older one's figures have none."""
    return {} if run.id is None else {"run_id": run.id}


def _parts(plan: Plan) -> dict[str, Any]:
    """Return what the weights leave open of a model: its parts, their options and versions."""
    config = plan.config.to_toml()
    plugins = {p.distribution: p.version for p in plan.plugins.found if p.state == "ok"}
    settings = {name: config[name] for name in _MODEL}
    return {"model": settings, "plugins": plugins}


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
