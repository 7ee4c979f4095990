"""One training step: gather, binarize, terms, objective, backward, check, clip, update, add up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.ranks import ALONE, World
from vaeflow.terms import Terms

# Summed over the images of an epoch, in this order; all but the last are fields of `Terms`.
TERMS = ("log_px", "log_pz", "log_base", "log_det", "objective")


class LossModule(nn.Module):
    """The model and its objective as one module, as torch's DistributedDataParallel needs it.

    Arguments:
        bf16: let matrix products and convolutions run in bfloat16. Densities stay in float32, as
            the contract of every part demands, and so does the objective.
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


class Sums:
    """The terms summed over the images of an epoch, and the norm of the newest gradient."""

    def __init__(self, device: torch.device) -> None:
        # Sums over an epoch need more than float32's 24 bits; MPS has no float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.totals = torch.zeros(len(TERMS), dtype=dtype, device=device)
        self.grad_norm = torch.zeros((), dtype=dtype, device=device)

    @torch.no_grad()
    def add(self, terms: Terms, objective: Tensor, weight: float) -> None:
        """Add the terms (K, B) and the objective (B,) of a batch, times `weight`."""
        each = (terms.log_px, terms.log_pz, terms.log_base, terms.log_det)
        every = torch.stack([*each, objective.expand_as(terms.log_px)])
        self.totals.add_(every.sum((1, 2)), alpha=weight)


class Gradient(NamedTuple):
    """The size of a step's gradient before it is clipped."""

    norms: Tensor  # (P,), of each parameter that has one
    norm: Tensor  # (), of all


def accept(terms: Terms, loss: Tensor, gradient: Gradient) -> None:
    """Accept any step."""


class Step:
    """The step in eager mode; it never waits for the device.

    Arguments:
        loss_module: maps a batch and β to the terms and the objective.
        optimizer: updates the parameters, all of them in one group.
        data: the training data (N, *data_shape), on the model's device.
        samples: K, the draws of each image.
        redraw: is applied to each batch at each visit, such as a dynamic binarization, or None.
        clip: largest norm of the gradient, or None.
        check: is shown the step before its update, and may refuse it by raising.
        world: the ranks of the step.
    """

    def __init__(
        self,
        loss_module: Callable[[Tensor, Tensor], tuple[Terms, Tensor]],
        optimizer: Optimizer,
        data: Tensor,
        *,
        samples: int,
        redraw: Callable[[Tensor], Tensor] | None,
        clip: float | None,
        check: Callable[[Terms, Tensor, Gradient], None] = accept,
        world: World = ALONE,
    ) -> None:
        self.loss_module = loss_module
        self.optimizer = optimizer
        self.parameters: list[nn.Parameter] = optimizer.param_groups[0]["params"]
        self.data = data
        self.samples = samples
        self.redraw = redraw
        self.clip = clip
        self.check = check
        self.world = world
        self.sums = Sums(data.device)

    def __call__(self, index: Tensor, beta: Tensor) -> Tensor:
        """Take one step on the images `index` at KL weight `beta`; return the loss, a tensor.

        Each rank takes its share of the images and returns its loss.
        """
        images, weight, counts = self.world.share(index)
        x = self.data.index_select(0, images)
        if self.redraw is not None:
            x = self.redraw(x)
        terms, objective = self.loss_module(x, beta)
        loss = -objective.mean()
        for p in self.parameters:
            p.grad = None
        loss.backward(weight)
        loss = loss.detach()
        gradient = self._measure()
        self.check(terms, loss, gradient)
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip, gradient.norm)
        self.optimizer.step()
        self.sums.add(terms, objective, counts / self.samples)
        self.sums.grad_norm.copy_(gradient.norm)
        return loss

    def _measure(self) -> Gradient:
        # The operations of torch's clip_grad_norm_, which does not tell the norm of each parameter.
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        return Gradient(norms, torch.linalg.vector_norm(norms))
