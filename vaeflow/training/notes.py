"""Steps that are not finite, noted on a device that is not to be waited for.

Nothing here reads a number off the device before the end of an epoch or a checkpoint: a step is
noted by tensors, in the same memory at each step, so that a CUDA graph repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vaeflow.training.step import TERMS, Seen

# A draw that is not finite spoils what is computed from it, so it is looked at first.
LOOKED_AT = ("z", *TERMS)


class Noted(NamedTuple):
    """A step whose loss or gradient was not finite."""

    step: int
    terms: Mapping[str, bool]  # name -> whether all its values are finite
    images: tuple[int, ...]  # of the step, as indices in the training data
    spoiled: tuple[int, ...]  # those of them whose objective is not finite
    norms: tuple[float, ...]  # of the gradient of each parameter that has one


class Notes:
    """Notes each step that is not finite, and turns its update off.

    Up to `skips` such steps are skipped. From the next one on, no step changes anything.

    Arguments:
        device: where the numbers lie.
        batch: most images of a step.
        skips: how many steps may be skipped.

    Attributes:
        off: 1.0 where the step under way changes nothing, else 0.0.
    """

    def __init__(self, device: torch.device, batch: int, skips: int = 0) -> None:
        self.skips = skips
        self.off = torch.zeros((), device=device)
        self._steps = torch.zeros((), dtype=torch.int64, device=device)  # since `begin`
        self._count = torch.zeros_like(self._steps)  # of noted steps, earlier processes' included
        self._slots = torch.arange(skips + 1, device=device)  # one for each step that is noted
        self._at = torch.zeros_like(self._slots)
        self._terms = torch.ones(skips + 1, len(LOOKED_AT), dtype=torch.bool, device=device)
        self._images = torch.full((skips + 1, batch), -1, device=device)
        self._fine = torch.ones(skips + 1, batch, dtype=torch.bool, device=device)
        self._norms = torch.zeros(skips + 1, 0, device=device)
        self._begun = self._told = 0

    def begin(self, step: int, skipped: int) -> None:
        """Start after so many steps, of which so many were skipped."""
        self._begun, self._told = step, min(skipped, self.skips)
        self._steps.zero_()
        self._count.fill_(self._told)

    @torch.no_grad()
    def __call__(self, seen: Seen) -> None:
        """Look at a step before its update; nothing waits."""
        if self._norms.shape[1] != len(seen.norms):
            self._norms = seen.norms.new_zeros(len(self._slots), len(seen.norms))
        self._steps.add_(1)
        broken = (seen.norm.isfinite() & seen.loss.isfinite()).logical_not()
        live = self._count <= self.skips
        here = (broken & live & (self._slots == self._count))[:, None]
        unused = self._images.shape[1] - len(seen.images)
        images = functional.pad(seen.images, (0, unused), value=-1)
        fine = functional.pad(seen.objective.isfinite(), (0, unused), value=True)
        for kept, new in (
            (self._at[:, None], self._steps),
            (self._terms, finite_terms(seen)),
            (self._images, images),
            (self._fine, fine),
            (self._norms, seen.norms),
        ):
            kept.copy_(torch.where(here, new, kept))
        self._count.add_(broken & live)
        self.off.copy_(broken | (self._count > self.skips))

    def read(self) -> list[Noted]:
        """Return the steps that were noted since the last call; this waits for the device."""
        count = int(self._count.item())
        new = range(self._told, count)
        self._told = count
        return [self._noted(i) for i in new]

    def _noted(self, slot: int) -> Noted:
        images, fine = self._images[slot], self._fine[slot]
        return Noted(
            step=self._begun + int(self._at[slot].item()),
            terms=dict(zip(LOOKED_AT, self._terms[slot].tolist(), strict=True)),
            images=tuple(images[images >= 0].tolist()),
            spoiled=tuple(images[~fine].tolist()),
            norms=tuple(self._norms[slot].tolist()),
        )


def noted(seen: Seen, step: int) -> Noted:
    """Return what `Notes` notes of a step; this waits for the device."""
    return Noted(
        step=step,
        terms=dict(zip(LOOKED_AT, finite_terms(seen).tolist(), strict=True)),
        images=tuple(seen.images.tolist()),
        spoiled=tuple(seen.images[~seen.objective.isfinite()].tolist()),
        norms=tuple(seen.norms.tolist()),
    )


@torch.no_grad()
def finite_terms(seen: Seen) -> Tensor:
    """Return which of `LOOKED_AT` are finite: a sum is not where one of its values is not."""
    t = seen.terms
    each = (t.z, t.log_px, t.log_pz, t.log_base, t.log_det, seen.objective)
    return torch.stack([value.sum() for value in each]).isfinite()
