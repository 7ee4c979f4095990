"""torch's optimizers and learning-rate schedules, by the run's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LRScheduler,
    MultiStepLR,
)

from vaeflow.config.settings import Settings
from vaeflow.training.acceleration.fused_adam import FusedAdam

_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(FusedAdam, fused=True),
    "adamw": partial(FusedAdam, fused=True, decoupled_weight_decay=True),
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
}


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Settings) -> Optimizer:
    """Return the optimizer, fused where torch has it."""
    parameters = list(parameters)
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.eps is not None:
        options["eps"] = settings.eps
    if parameters and parameters[0].is_cuda:
        # A replayed graph freezes Python numbers, so the rate is a tensor.
        rate = torch.tensor(settings.lr, device=parameters[0].device)
        options |= {"lr": rate, "capturable": True}
    return _OPTIMIZERS[settings.optimizer](parameters, **options)


def make_schedule(optimizer: Optimizer, settings: Settings, epoch: int = 0) -> LRScheduler:
    """Return the schedule, stepped once per epoch, as it stands after `epoch` epochs.

    A checkpoint holds no state of the schedule: stepping a fresh one repeats the floating-point
    operations of the interrupted run.
    """
    schedule: LRScheduler
    if settings.schedule == "cosine":
        schedule = CosineAnnealingLR(optimizer, T_max=settings.epochs)
    elif settings.schedule == "exponential":
        schedule = ExponentialLR(optimizer, gamma=settings.lr_gamma)
    elif settings.schedule == "milestones":
        schedule = MultiStepLR(optimizer, list(settings.lr_milestones), gamma=settings.lr_gamma)
    else:
        schedule = ConstantLR(optimizer, factor=1.0, total_iters=0)
    # torch warns of a schedule that moves before the optimizer: this one catches up, or the first
    # steps were skipped.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    for _ in range(epoch):
        schedule.step()
    return schedule


def optimizer_tensors(optimizer: Optimizer, names: list[str]) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors, "exp_avg/encoder.layers.0.weight"."""
    state = optimizer.state_dict()["state"]
    return {
        f"{key}/{names[index]}": value
        for index, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(
    optimizer: Optimizer, names: list[str], tensors: dict[str, Tensor]
) -> None:
    """Put back the state from `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        entry, _, name = key.partition("/")
        state.setdefault(names.index(name), {})[entry] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
