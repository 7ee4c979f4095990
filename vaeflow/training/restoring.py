"""Whether a checkpoint fits a training: every name, shape and type, before any of it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.runtime.noise import Noise
from vaeflow.training.checkpoints import Checkpoint, check_fit


def check_position(checkpoint: Checkpoint, steps: int, epochs: int) -> None:
    """Check that a checkpoint stands within a training of so many epochs of so many steps.

    Raises:
        CheckpointError: if its numbers contradict each other.
        ConfigError: if it stands behind the end.
    """
    at = checkpoint.progress
    if at.batch > steps or at.step != at.epoch * steps + at.batch:
        raise checkpoint.odd(
            f"{at.epoch} epochs of {steps} steps and {at.batch} steps are not {at.step} steps"
        )
    check_end(checkpoint, epochs)


def check_end(checkpoint: Checkpoint, epochs: int) -> None:
    """Check that a training of so many epochs does not end before a checkpoint.

    Raises:
        ConfigError: if it does.
    """
    begun = checkpoint.progress.epoch + (checkpoint.progress.batch > 0)
    if epochs < begun:
        raise ConfigError(
            f"--epochs {epochs}: the run is in epoch {begun} already: give --epochs {begun} or more"
        )


def check_weights(checkpoint: Checkpoint, model: VAE) -> None:
    """Check that the last and the best weights of a checkpoint belong to a model.

    Raises:
        CheckpointError: naming what is missing, extra, misshapen or not finite.
    """
    check_fit(model, checkpoint.group("model"))
    if checkpoint.progress.best_epoch or "best" in checkpoint.tensors:
        check_fit(model, checkpoint.group("best"))


def check_optimizer(checkpoint: Checkpoint, model: VAE, optimizer: Optimizer) -> None:
    """Check that the state of an optimizer is one of these parameters.

    A fused kernel reads it by the sizes of the parameters, beyond the ends of other tensors.

    Raises:
        CheckpointError: naming what is missing, extra, misshapen or not finite.
    """
    given, steps = dict(checkpoint.group("optimizer")), checkpoint.progress.step
    unused = unchanged(model, given)
    # Older checkpoints do not tell which parameters no step has changed.
    if (before := checkpoint.state.get("unchanged", unused)) != unused:
        raise checkpoint.odd(f"its optimizer lacks {_differing(before, unused):.80}")
    for name, parameter in model.named_parameters():
        if name in unused:
            continue
        for entry, (shape, dtype) in _entries(optimizer, parameter).items():
            key, wanted = f"{entry}/{name}", parameter.shape if shape is None else shape
            if (tensor := given.pop(key, None)) is None:
                raise checkpoint.odd(f"its optimizer lacks {key}")
            if tensor.shape != wanted or tensor.dtype != dtype:
                raise checkpoint.odd(
                    f"{key} is {tuple(tensor.shape)} {tensor.dtype}, where {tuple(wanted)} {dtype} "
                    "is expected"
                )
            if not torch.isfinite(tensor).all():
                raise checkpoint.odd(f"{key} is not finite")
            if entry == "step" and not 0 <= tensor.item() <= steps:
                raise checkpoint.odd(f"{key} is {tensor.item():g} of {steps} steps")
    if given:
        raise checkpoint.odd(f"its optimizer has {next(iter(given))!r:.80} of no parameter")


def unchanged(model: VAE, tensors: Iterable[str]) -> list[str]:
    """Return the parameters of which an optimizer keeps nothing, as no step has changed them."""
    kept = {name.partition("/")[2] for name in tensors}
    return [name for name, _ in model.named_parameters() if name not in kept]


def check_loop(
    checkpoint: Checkpoint, totals: Tensor, noise: Noise, states: Mapping[str, Tensor]
) -> None:
    """Check the sums of the epoch, and the states of this rank's generators: a new rank has none.

    Raises:
        CheckpointError: if they are missing, or could not be loaded.
    """
    given = checkpoint.group("loop").get("totals")
    # An older one does not count the images of skipped steps.
    if given is None or given.dim() != 1 or not 0 <= len(totals) - len(given) <= 1:
        raise checkpoint.odd("the sums of its epoch are missing, or of another number")
    if not given.is_floating_point() or not torch.isfinite(given).all():
        raise checkpoint.odd("the sums of its epoch are not finite")
    # Older checkpoints do not tell which generators they have.
    needed = checkpoint.state.get("generators", ["cpu"])
    if not isinstance(needed, list) or (states and not {*map(str, needed)} <= states.keys()):
        raise checkpoint.odd(f"its generators {', '.join(map(str, states))} are not {needed!r:.80}")
    try:
        noise.check(states)
    except ValueError as error:
        raise checkpoint.odd(str(error)) from None


class _Entry(NamedTuple):
    """What an optimizer keeps for a parameter under one name."""

    shape: tuple[int, ...] | None  # None for that of the parameter
    dtype: torch.dtype


def _entries(optimizer: Optimizer, like: Tensor) -> dict[str, _Entry]:
    """Return what the optimizer keeps for a parameter: it is seen to take a step with one."""
    probe = nn.Parameter(torch.zeros(2, 3, dtype=like.dtype, device=like.device))
    probe.grad = torch.zeros_like(probe)
    same = type(optimizer)([probe], **optimizer.defaults)
    same.step()
    return {
        name: _Entry(None if value.shape == probe.shape else tuple(value.shape), value.dtype)
        for name, value in same.state[probe].items()
        if isinstance(value, Tensor)
    }


def _differing(before: object, now: list[str]) -> str:
    known = {*map(str, before)} if isinstance(before, list) else set()
    return ", ".join(sorted(known ^ {*now})[:3])
