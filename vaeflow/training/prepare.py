"""Everything before the first step: the device, the data, a first pass, the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vaeflow.config.settings import Settings
from vaeflow.data.binarization import Binarization, prepare_split
from vaeflow.data.examples import Data, Examples, as_examples
from vaeflow.data.places import Place
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.devices import check_precision, choose_device
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.ranks import World, world
from vaeflow.runtime.validation import no_validation
from vaeflow.training.acceleration.captured import Captured, CUDAGraphs
from vaeflow.training.acceleration.compiled import Compiled
from vaeflow.training.fault import name_fault
from vaeflow.training.finite import Finite
from vaeflow.training.first_pass import few, first_pass
from vaeflow.training.loop import Trainer
from vaeflow.training.optimizers import make_optimizer
from vaeflow.training.progress import Progress
from vaeflow.training.splits import TrainingData, training_data
from vaeflow.training.step import LossModule, Step
from vaeflow.training.unscaled import check_scale


def prepare_trainer(
    model: VAE,
    train: Data,
    validation: Data | None = None,
    *,
    objective: Objective | None = None,
    binarization: Binarization = "none",
    dequantize: int | None = None,
    settings: Settings | None = None,
    owners: Mapping[str, str] | None = None,
    places: Mapping[str, Place] | None = None,
) -> Trainer:
    """Check a model and its data, move both to the device, and return the model's trainer.

    The model takes the scale of the training data, unless it has one from a training before.

    Where torch's process group exists, all its ranks train together, each with the same arguments
    and its share of each batch (`runtime.ranks`).

    Arguments:
        model: it is moved to the device, and trained in place.
        train: training data (N, *data_shape), grey values if it is binarized or dequantized, or
            examples with covariates and weights. The mean of the weights is brought to 1.
        validation: held-out data, or None.
        objective: is maximized; by default the ELBO with one sample.
        binarization: "dynamic" draws x ~ Bernoulli(grey value) at each visit.
        dequantize: grey levels, whose values get new uniform noise at each visit, or None.
        settings: epochs, batch size, optimizer, …
        owners: how errors call the part of each kind; by default its class.
        places: how errors call a value of "train" or "validation"; by default by its index.

    Raises:
        ConfigError: if a device or an objective cannot be had.
        DataError: if the likelihood cannot score the data.
        PluginError: if a part breaks its contract, found by a first pass over a few images.
    """
    if torch.is_inference_mode_enabled():
        raise ConfigError("torch.inference_mode() has no gradients: train outside of it")
    settings = settings or Settings()
    objective = objective or ELBO()
    ranks = world()
    device = _device(settings, ranks)
    if validation is None and settings.early_stopping is not None:
        raise ConfigError("early_stopping needs validation data: give some, or leave it out")
    shown = as_examples(train)[: few(model, objective)]
    data = training_data(
        train,
        validation,
        model,
        binarization,
        dequantize,
        device,
        settings.batch_size,
        places or {},
    )
    model.to(device)
    model.measure(data.train.x)
    blame = Blame(model, objective, owners)
    noise = Noise(settings.seed, device, ranks.stream)
    with noise.private("check"), no_validation():
        x = prepare_split(shown.values, binarization, dequantize, gaps=model.missing)
        first_pass(model, objective, replace(shown, x=x).to(device), blame)
        check_scale(model, data.train, blame)
    progress = Progress()
    finite = Finite(model, data.train.x, settings, progress, ranks, blame)
    eager = _eager_step(model, objective, data, settings, finite)

    def fault(x: Examples, error: Exception | None) -> None:
        with noise.private("check"), torch.enable_grad():
            name_fault(model, objective, x, blame, f"at step {progress.step + 1}", error)

    eager.fault = fault
    return Trainer(
        model=model,
        objective=objective,
        data=data,
        settings=settings,
        eager=eager,
        step=_fastest(eager, settings, blame),
        noise=noise,
        blame=blame,
        finite=finite,
        progress=progress,
    )


def _device(settings: Settings, ranks: World) -> torch.device:
    device = choose_device(settings.device)
    check_precision(settings.precision, device)
    ranks.check(device)
    return device


def _eager_step(
    model: VAE, objective: Objective, data: TrainingData, settings: Settings, finite: Finite
) -> Step:
    """Return the eager step, its model compiled if the settings ask for it."""
    ranks = finite.world
    optimizer = make_optimizer(model.parameters(), settings)
    module: Callable[..., Any] = ranks.wrap(
        LossModule(model, objective, bf16=settings.precision == "bf16")
    )
    if settings.compile:
        module = Compiled(module, len(ranks.part(torch.arange(settings.batch_size))))
    step = Step(
        module,
        optimizer,
        data.train,
        samples=objective.samples,
        redraw=data.redraw,
        clip=settings.clip,
        check=finite.step,
        world=ranks,
    )
    if settings.skips:
        step.buffers = [b for name, b in model.named_buffers() if name in model.state_dict()]
    if finite.notes is not None:
        step.turned_off_by(finite.notes.off)
    return step


def _fastest(eager: Step, settings: Settings, blame: Blame) -> Callable[..., Tensor]:
    """Return the step as one CUDA graph where it can be; several ranks cannot agree on one."""
    device = eager.data.device
    if device.type != "cuda" or eager.world.count > 1 or not settings.capture:
        return eager
    return Captured(eager, settings.batch_size, blame, CUDAGraphs(device))
