"""One training step: gather, binarize, terms, objective, backward, clip, update, accumulate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.ranks import ALONE, World
from vaeflow.terms import Terms

# Summed over the images of an epoch, in this order.
TERMS = ("log_px", "log_pz", "log_q0", "log_det", "objective")


class Bound(nn.Module):
    """All that has a gradient, from a batch to the objective: what several ranks wrap.

    Arguments:
        bf16: let matrix products and convolutions run in bfloat16. Densities stay in float32, as
            every part's contract has it, and so does the objective.
    """

    def __init__(self, model: VAE, objective: Objective, *, bf16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.bf16 = bf16

    def forward(self, x: Tensor, beta: Tensor) -> tuple[Terms, Tensor]:
        """Return the terms at x (B, *data_shape) and the objective, shape (B,)."""
        with torch.autocast(x.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            terms: Terms = self.model(x, self.objective.samples)
        return terms, self.objective(terms, beta)


def accept(loss: Tensor) -> None:
    """Take any loss."""


class Step:
    """The step in eager mode; it never waits for the device.

    Arguments:
        bound: maps a batch and β to the terms and the objective.
        parameters: what the optimizer updates.
        data: the training data (N, *data_shape), on the model's device.
        samples: K, the draws of each image.
        redraw: what each batch passes through at each visit, such as a dynamic binarization.
        clip: largest norm of the gradient, or None.
        check: is shown the loss before the update, and may refuse it by raising.
        world: the ranks that share the step.
    """

    def __init__(
        self,
        bound: Callable[[Tensor, Tensor], tuple[Terms, Tensor]],
        parameters: Iterable[nn.Parameter],
        optimizer: Optimizer,
        data: Tensor,
        *,
        samples: int,
        redraw: Callable[[Tensor], Tensor] | None,
        clip: float | None,
        check: Callable[[Tensor], None] = accept,
        world: World = ALONE,
    ) -> None:
        self.world = world
        self.bound = bound
        self.optimizer = optimizer
        self.parameters = list(parameters)
        self.data = data
        self.samples = samples
        self.redraw = redraw
        self.clip = clip
        self.check = check
        # Sums over an epoch need more than float32's 24 bits, which is all that MPS has.
        dtype = torch.float32 if data.device.type == "mps" else torch.float64
        self.totals = torch.zeros(len(TERMS), dtype=dtype, device=data.device)
        self.grad_norm = torch.zeros((), device=data.device)

    def __call__(self, index: Tensor, beta: Tensor, *, measure: bool = False) -> Tensor:
        """Take one step on the images `index` at KL weight `beta`; return the loss, a tensor.

        Each rank takes its share of the images, and returns the loss of that.
        `measure` records the norm of the gradient (before clipping, which records it anyway).
        """
        index, weight, counts = self.world.share(index)
        x = self.data.index_select(0, index)
        if self.redraw is not None:
            x = self.redraw(x)
        terms, value = self.bound(x, beta)
        loss = -value.mean()
        for p in self.parameters:
            p.grad = None
        loss.backward(weight)
        loss = loss.detach()
        self.check(loss)
        if self.clip is not None:
            self.grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        elif measure:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            self.grad_norm = nn.utils.get_total_norm(gradients)
        self.optimizer.step()
        with torch.no_grad():
            each = (terms.log_px, terms.log_pz, terms.log_base, terms.log_det)
            every = torch.stack([*each, value.expand_as(terms.log_px)])
            self.totals.add_(every.sum((1, 2)), alpha=counts / self.samples)
        return loss
