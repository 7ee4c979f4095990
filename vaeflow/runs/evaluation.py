"""A run's evaluation: its model and data to figures that are kept in the run directory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vaeflow.config.settings import Config
from vaeflow.config.way import ProposalKind
from vaeflow.data.examples import Data, as_examples
from vaeflow.data.stored import Values, chunks
from vaeflow.errors import CheckpointError, NonFiniteError
from vaeflow.evaluation import Bounds, ImageBounds, evaluate_images
from vaeflow.evaluation.latent_code import LATENT_CODE_IMAGES, describe_latent_code
from vaeflow.evaluation.proposals.choice import Choice, choose
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.evaluation.stored import Keeper, Stored, read
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import build_model, images_of
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation_options import EvaluationOptions
from vaeflow.runs.referee import Referee, referee
from vaeflow.runs.report import Report
from vaeflow.runs.weights import load_weights
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.devices import choose_device
from vaeflow.runtime.progress import Advance, OpenBar, no_bar, unseen
from vaeflow.training.checkpoints import Checkpoint
from vaeflow.version import __version__

log = logging.getLogger("vaeflow")
_LESS_MEMORY = "`vaeflow evaluate --chunk 1000` takes less memory"  # the cure in `train` too


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a run, ready to begin, or to go on where it was interrupted.

    The run directory keeps the figures of each image. An evaluation of the same data, weights, K,
    seed and versions goes on from them. Another evaluation overwrites them, after a warning that
    names the difference.
    """

    model: VAE
    images: Data
    config: Config
    options: EvaluationOptions
    choice: Choice  # the proposal that the parts allow
    about: Mapping[str, Any]  # the data and the weights
    kept: Keeper
    stored: bool  # whether all figures are kept from an evaluation before

    @classmethod
    def of(cls, run: Run, plugins: Plugins, options: EvaluationOptions | None = None) -> Evaluation:
        """Load the model and the images of a run, and the figures that it keeps.

        Raises:
            CheckpointError, PluginError, DataError: if the run cannot be loaded.
        """
        options = options or EvaluationOptions()
        plan = run.plan(plugins)
        if options.data_root is not None:
            plan = plan.but(data_root=options.data_root.absolute())
        checkpoint = run.checkpoint()
        model = build_model(plan, run.form)
        load_weights(model, checkpoint, options.weights)
        model = model.to(choose_device(options.device)).eval()
        images = images_of(run.data(plan), options.split, plan.config)[: options.limit]
        choice = choose_for(model, images, plan.config, options.proposal)
        about = {
            **_data(plan.config, options, choice, images),
            **_weights(model, checkpoint, options.weights),
            **run.marks,
            "vaeflow": __version__,
            "torch": torch.__version__,
            "device": model.device.type,
        }
        path = run.evaluation(options.split, options.way, options.weights)
        before = None if options.again else _same(path, about)
        return cls(
            model,
            images,
            plan.config,
            options,
            choice,
            about,
            kept=Keeper(path, about, before),
            stored=before is not None and before.complete,
        )

    def run(self, progress: OpenBar = no_bar) -> Report:
        """Evaluate the images that are left, and keep their figures.

        `progress` opens a bar for each of the two stages.

        Raises:
            NonFiniteError: if a bound is not a number.
            PluginError: naming the part that fails.
        """
        total = len(self.images)
        with self.kept:
            with progress(total, f"{self.options.split} images", self.kept.done) as done:
                bounds = evaluate_split(
                    self.model,
                    self.images,
                    self.config,
                    self.choice,
                    samples=self.options.samples,
                    precision=Precision(self.options.tolerance, self.options.max_draws),
                    chunk=self.options.chunk,
                    kept=self.kept,
                    progress=done,
                )
            if self.kept.code is None:
                with (
                    Blame(self.model, None).at(lambda: "in the figures of its code", _LESS_MEMORY),
                    progress(
                        min(total, LATENT_CODE_IMAGES), "images of the latent code", 0
                    ) as done,
                ):
                    code = describe_latent_code(
                        self.model, self.images, seed=self.config.seed, progress=done
                    )
                self.kept.describe(code)
        assert self.kept.code is not None
        return Report(self.about, bounds, self.kept.code, self._referee(bounds, progress))

    def _referee(self, bounds: Bounds, progress: OpenBar) -> Referee | None:
        """Anneal the first of the unsettled images, as many as are asked for."""
        images = bounds.unsettled[: self.options.referee]
        if not images:
            return None
        with progress(len(images), "images annealed", 0) as done:
            return referee(
                self.model,
                self.images,
                images,
                self.kept.bounds.nll,
                seed=self.config.seed,
                progress=done,
            )


def choose_for(model: VAE, x: Data, config: Config, kind: ProposalKind = "laplace") -> Choice:
    """Return the proposal that the parts of a run allow.

    Raises:
        ConfigError: if q cannot score what the mixture with q asks for.
        PluginError: naming the part that fails.
    """
    with Blame(model, None, _owners(config)).at(lambda: "in evaluation", _LESS_MEMORY):
        return choose(model, x, kind)


def _owners(config: Config) -> dict[str, str]:
    return {kind: f"{kind} {part.name!r}" for kind, part in config.parts().items()}


def _data(
    config: Config, options: EvaluationOptions, choice: Choice, images: Data
) -> dict[str, Any]:
    """Return the data of an evaluation, and how it is taken."""
    fixed, data = choice.kind == "q", as_examples(images)
    beside = {} if data.condition is None else {"condition_sha256": _sha256(data.condition)}
    return {
        "dataset": config.dataset.name,
        "split": options.split,
        "images": len(images),
        "images_sha256": _sha256(data.x, data.weight),
        **beside,
        "binarization": config.binarization,
        "dequantize": config.dequantize,
        "seed": config.seed,
        "proposal": choice.kind,
        "samples": options.samples,
        "tolerance": None if fixed else options.tolerance,
        "max_draws": None if fixed else options.max_draws,
    }


def _sha256(*tensors: Values | None) -> str:
    found = hashlib.sha256()
    for values in tensors:
        for _, part in chunks(values) if values is not None else ():
            found.update(part.contiguous().numpy().data)
    return found.hexdigest()


def _weights(model: VAE, checkpoint: Checkpoint, weights: str) -> dict[str, Any]:
    """Return the weights of an evaluation; the best ones are of the end of an epoch."""
    done = checkpoint.progress
    epoch, step = done.epoch, done.step
    if weights == "best" and done.best_epoch:
        step = done.best_epoch * (step - done.batch) // max(epoch, 1)
        epoch = done.best_epoch
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return {
        "weights": weights,
        "epoch": epoch,
        "step": step,
        "weights_sha256": digest.hexdigest(),
    }


def _same(path: Path, about: Mapping[str, Any]) -> Stored | None:
    """Return the kept figures of this evaluation; warn of the difference if they are another's."""
    if not path.exists():
        return None
    try:
        found = read(path)
    except CheckpointError as error:
        log.warning("%s; it is evaluated anew", error)
        return None
    if (difference := found.difference(about)) is not None:
        log.warning("%s is of another evaluation, %s: it is evaluated anew", path, difference)
        return None
    return found


def evaluate_split(
    model: VAE,
    x: Data,
    config: Config,
    choice: Choice,
    *,
    samples: int,
    precision: Precision | None = None,
    chunk: int | None = None,
    kept: Keeper | None = None,
    progress: Advance = unseen,
) -> Bounds:
    """Evaluate images with noise of the run's seed: the same figures at each call.

    Arguments:
        choice: the proposal of the NLL.
        kept: holds the figures that are done, and takes the new ones.

    Raises:
        NonFiniteError: if a bound is not a number.
        PluginError: naming the part that fails.
    """
    precision = precision or Precision()
    parts = [] if kept is None else list(kept.parts)
    with Blame(model, None, _owners(config)).at(lambda: "in evaluation", _LESS_MEMORY):
        for part in evaluate_images(
            model,
            x,
            samples=samples,
            proposal=choice.kind,
            precision=precision,
            chunk=chunk,
            seed=config.seed,
            start=sum(map(len, parts)),
            progress=progress,
        ):
            if not part.finite:
                raise NonFiniteError(
                    f"the bound is not finite (ELBO {part.elbo.over_images}): look for images or "
                    "weights that the model cannot score, or evaluate other --weights"
                )
            parts.append(part)
            if kept is not None:
                kept.add(part)
    per_image = ImageBounds.cat(parts)
    return Bounds.of(
        per_image,
        model,
        samples=samples,
        choice=choice,
        tolerance=precision.tolerance,
        dequantized=config.dequantize,
    )
