"""Adam in one pass over all parameters, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class _Gathered(NamedTuple):
    """The state of all parameters, in the order of the parameters."""

    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]  # views of the counts
    counts: Tensor  # of steps, one for each parameter


class FusedAdam(torch.optim.Adam):
    """torch's Adam and AdamW by their fused kernel, whose arguments are gathered once.

    `torch.optim.Adam.step` gathers the arguments anew in each step, which takes a twentieth of the
    step of a small network. It still takes the first step, and each step in which a parameter has
    no gradient.

    Attributes:
        found_inf: a number on the device; while it is 1, steps change nothing.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], **options: Any) -> None:
        super().__init__(parameters, **options)
        self.found_inf: Tensor | None = None  # torch's name: its own step reads it as well
        self._gathered: _Gathered | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        (group,) = self.param_groups
        gradients = [p.grad for p in group["params"]]
        if self._gathered is None or any(g is None for g in gradients):
            super().step()
            self._gathered = self._gather()
            return
        means, squares, steps, counts = self._gathered
        counts.add_(1 if self.found_inf is None else 1 - self.found_inf)
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
            found_inf=self.found_inf,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back a state from `state_dict`."""
        super().load_state_dict(state_dict)
        self._gathered = None

    def _gather(self) -> _Gathered | None:
        """Line up the state, the counts of steps in one tensor; None if a parameter has none."""
        (group,) = self.param_groups
        states = [self.state.get(p, {}) for p in group["params"]]
        if not all(states):
            return None
        counts = torch.stack([state["step"] for state in states])
        for state, count in zip(states, counts.unbind(), strict=True):
            state["step"] = count
        means, squares, steps = (
            [state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step")
        )
        return _Gathered(means, squares, steps, counts)
