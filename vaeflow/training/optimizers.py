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

from vaeflow.config import Settings


class FusedAdam(torch.optim.Adam):
    """torch's Adam and AdamW by their fused kernel, whose arguments are gathered once.

    `torch.optim.Adam.step` gathers them anew each time, a twentieth of the step of a small network.
    It still takes the first step, and each in which a parameter has no gradient.
    """

    _gathered: tuple[list[Tensor], ...] | None = None
    _counts: Tensor

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        (group,) = self.param_groups
        gradients = [p.grad for p in group["params"]]
        if self._gathered is None or any(g is None for g in gradients):
            super().step()
            self._gather()
            return
        means, squares, steps = self._gathered
        self._counts.add_(1)
        kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        beta1, beta2 = group["betas"]
        kernel(
            group["params"],
            gradients,
            means,
            squares,
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._gathered = None

    def _gather(self) -> None:
        """Line up the state, the parameters' counts of steps in one tensor."""
        (group,) = self.param_groups
        states = [self.state.get(p, {}) for p in group["params"]]
        if not all(states):
            return
        self._counts = torch.stack([state["step"] for state in states])
        for state, count in zip(states, self._counts.unbind(), strict=True):
            state["step"] = count
        columns = ("exp_avg", "exp_avg_sq", "step")
        self._gathered = tuple([state[key] for state in states] for key in columns)


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
        # A CUDA graph repeats the numbers it was recorded with; it reads a tensor anew.
        rate = torch.tensor(settings.lr, device=parameters[0].device)
        options |= {"lr": rate, "capturable": True}
    return _OPTIMIZERS[settings.optimizer](parameters, **options)


def make_schedule(optimizer: Optimizer, settings: Settings, epoch: int = 0) -> LRScheduler:
    """Return the schedule, stepped once per epoch, as it stands after `epoch` epochs.

    Stepping a fresh schedule repeats the same floating-point operations as the run that was
    interrupted, so that no state needs saving.
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
    for _ in range(epoch):
        # torch warns where a schedule moves before the optimizer; here it only catches up.
        optimizer._opt_called = True  # type: ignore[attr-defined]
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
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        entry, _, name = key.partition("/")
        state.setdefault(names.index(name), {})[entry] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
