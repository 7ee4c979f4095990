"""One training step: gather, binarize, terms, objective, backward, check, clip, update, add up.

Nothing here waits for the device. What is not finite changes nothing: on the CPU the check says so
before the update, and elsewhere a number on the device, `off`, turns the update off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaeflow.data.examples import Data, Examples, as_examples
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

    def forward(
        self, x: Tensor, beta: Tensor, condition: Tensor | None = None
    ) -> tuple[Terms, Tensor]:
        """Return the terms at x (B, *data_shape) and the objective, shape (B,).

        `condition` holds the covariates (B, C) of a model that has some.
        """
        data = Examples(x, condition)
        with torch.autocast(x.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            terms: Terms = self.model(data, self.objective.samples)
        return terms, self.objective(terms, beta)


class Sums:
    """The terms summed over the images of an epoch, and the norm of the newest gradient.

    `totals` ends with the number of images that are not in the sums, as their step was skipped.
    """

    def __init__(self, device: torch.device) -> None:
        # Sums over an epoch need more than float32's 24 bits; MPS has no float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.totals = torch.zeros(len(TERMS) + 1, dtype=dtype, device=device)
        self.grad_norm = torch.zeros((), dtype=dtype, device=device)

    @torch.no_grad()
    def add(self, seen: Seen, weight: float, off: Tensor | None = None) -> None:
        """Add the terms of a step, times `weight`, unless `off` is 1."""
        t = seen.terms
        each = (t.log_px, t.log_pz, t.log_base, t.log_det)
        every = torch.stack([*each, seen.objective.expand_as(t.log_px)])
        if seen.weight is not None:
            every = every * seen.weight
        every = every.sum((1, 2))
        if off is None:
            self.totals[:-1].add_(every, alpha=weight)
            self.grad_norm.copy_(seen.norm)
            return
        # Not a product with 0, as 0 · NaN is NaN.
        self.totals[:-1].add_(torch.where(off > 0, 0, every), alpha=weight)
        self.totals[-1].add_(off, alpha=weight * t.log_px.numel())
        self.grad_norm.copy_(torch.where(off > 0, self.grad_norm, seen.norm))

    def leave_out(self, images: float) -> None:
        """Count images of a step that was skipped."""
        self.totals[-1].add_(images)


class Seen(NamedTuple):
    """A step before its update. On several ranks, the images and terms are the rank's own."""

    images: Tensor  # (B,): their indices in the training data
    terms: Terms
    objective: Tensor  # (B,)
    loss: Tensor  # ()
    norms: Tensor  # (P,), of the gradient of each parameter that has one, before it is clipped
    norm: Tensor  # (), of all
    weight: Tensor | None = None  # (B,): of the images, 1 on average over the training data


def accept(seen: Seen) -> bool:
    """Accept any step."""
    return True


def ignore(x: Examples, error: Exception | None) -> None:
    """Know of no part at fault."""


class Step:
    """The step in eager mode; it never waits for the device.

    Arguments:
        loss_module: maps a batch, β and covariates to the terms and the objective.
        optimizer: updates the parameters, all of them in one group.
        data: the training data, on the model's device.
        samples: K, the draws of each image.
        redraw: is applied to each batch at each visit, such as a dynamic binarization, or None.
        clip: largest norm of the gradient, or None.
        check: is shown the step before its update, and may refuse it by raising, or by False.
        world: the ranks of the step.

    Attributes:
        off: a number on the device, set by the check, or None: where it is 1, the step changes
            nothing.
        fault: is called with a batch where a part changed it in place or returned a wrong shape,
            or with the exception that arose; it raises an error that names the part.
        buffers: what a forward pass may change, and a step that is skipped has to put back.
    """

    def __init__(
        self,
        loss_module: Callable[..., tuple[Terms, Tensor]],
        optimizer: Optimizer,
        data: Data,
        *,
        samples: int,
        redraw: Callable[[Tensor], Tensor] | None,
        clip: float | None,
        check: Callable[[Seen], bool] = accept,
        world: World = ALONE,
    ) -> None:
        self.loss_module = loss_module
        self.optimizer = optimizer
        self.parameters: list[nn.Parameter] = optimizer.param_groups[0]["params"]
        self.data = as_examples(data)
        self.samples = samples
        self.redraw = redraw
        self.clip = clip
        self.check = check
        self.fault: Callable[[Examples, Exception | None], None] = ignore
        self.world = world
        self.sums = Sums(data.device)
        self.off: Tensor | None = None
        self.buffers: list[Tensor] = []

    def turned_off_by(self, off: Tensor) -> None:
        """Let `off`, a number on the device, turn a step's update off where it is 1."""
        self.off = off
        # torch's fused kernel knows such a number on CUDA; on the CPU, it stands for CUDA.
        if hasattr(self.optimizer, "found_inf") and off.device.type != "mps":
            self.optimizer.found_inf = off

    def __call__(self, index: Tensor, beta: Tensor) -> Tensor:
        """Take one step on the images `index` at KL weight `beta`; return the loss, a tensor.

        Each rank takes its share of the images and returns its loss.
        """
        images, weight, counts = self.world.share(index)
        batch = self.data.index_select(0, images)
        x = batch.values if self.redraw is None else self.redraw(batch.values)
        batch, given = replace(batch, x=x), () if batch.condition is None else (batch.condition,)
        version, before = x._version, [b.clone() for b in self.buffers]
        try:
            terms, objective = self.loss_module(x, beta, *given)
        except Exception as error:
            self.fault(batch, error)  # a part may fail at what another one returned
            raise
        if x._version != version or not self._fits(terms, objective, len(images)):
            self.fault(batch, None)
        if not objective.requires_grad:  # a part may have turned gradients off
            self.fault(batch, None)
        each = objective if batch.weight is None else objective * batch.weight
        loss = -each.mean()
        for p in self.parameters:
            p.grad = None
        if self.off is not None and weight is not None:
            # A loss that is NaN on one rank spoils the gradient of all: they turn off together.
            weight = torch.where(loss.isfinite(), weight, math.nan)
        loss.backward(weight)
        loss = loss.detach()
        seen = Seen(images, terms, objective, loss, *self._measure(), batch.weight)
        if self.check(seen):
            self._update(seen)
            self.sums.add(seen, counts / self.samples, self.off)
            if self.off is not None:
                restore(self.buffers, before, self.off)
        else:
            restore(self.buffers, before)
            self.sums.leave_out(counts * len(images))
        return loss

    def _fits(self, terms: Terms, objective: Tensor, batch: int) -> bool:
        """Return whether each term is (K, B) and the objective (B,): others may broadcast."""
        wanted = (self.samples, batch)
        each = (terms.log_px, terms.log_pz, terms.log_base, terms.log_det)
        return objective.shape == wanted[1:] and all(term.shape == wanted for term in each)

    def _update(self, seen: Seen) -> None:
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip, seen.norm)
        if self.off is None or getattr(self.optimizer, "found_inf", None) is not None:
            self.optimizer.step()
        else:
            held(self.optimizer, self.off)

    def _measure(self) -> tuple[Tensor, Tensor]:
        # The operations of torch's clip_grad_norm_, which does not tell the norm of each parameter.
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        return norms, torch.linalg.vector_norm(norms)


def restore(tensors: Iterable[Tensor], before: Iterable[Tensor], off: Tensor | None = None) -> None:
    """Put tensors back as they were; where `off` is given, only if it is 1."""
    for now, then in zip(tensors, before, strict=True):
        now.copy_(then if off is None else torch.where(off > 0, then, now))


@torch.no_grad()
def held(optimizer: Optimizer, off: Tensor) -> None:
    """Take an optimizer's step, which changes nothing if `off`, a number on the device, is 1.

    It is for optimizers that have no `found_inf`, as torch calls such a number. Their state begins
    as zeros.
    """
    parameters = optimizer.param_groups[0]["params"]
    before = {id(t): t.clone() for t in (*parameters, *_state(optimizer))}
    optimizer.step()
    here = [t for t in (*parameters, *_state(optimizer)) if t.device == off.device]
    restore(here, (before.get(id(t), torch.zeros_like(t)) for t in here), off)


def _state(optimizer: Optimizer) -> list[Tensor]:
    return [t for s in optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
