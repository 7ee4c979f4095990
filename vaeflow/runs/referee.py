"""Annealing of the images whose NLL the proposal's draws do not settle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vaeflow.data.examples import Data, as_examples
from vaeflow.diagnosis.annealing import Annealing, annealed
from vaeflow.evaluation import PerImage
from vaeflow.evaluation.findings import Finding
from vaeflow.model import VAE
from vaeflow.runtime.progress import Advance

_TEMPERATURES, _CHAINS = 1000, 8


@dataclass(frozen=True)
class Referee:
    """The NLL of some images from above, by annealed importance sampling and by the proposal."""

    images: tuple[int, ...]  # their indices
    annealed: PerImage
    proposal: PerImage

    @property
    def finding(self) -> Finding:
        """Return how much lower the annealed NLL is."""
        details = {"images": len(self.images), "annealed": self.annealed.over_images}
        return Finding.of(
            "referee", "NLL", (self.annealed - self.proposal).over_images, "note", **details
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        figures = {"annealed": self.annealed, "proposal": self.proposal}
        lists = {
            name: {"values": one.values.tolist(), "errors": one.errors.tolist()}
            for name, one in figures.items()
        }
        return {"images": list(self.images), **lists}


def referee(
    model: VAE, x: Data, images: tuple[int, ...], nll: PerImage, *, seed: int, progress: Advance
) -> Referee:
    """Anneal some of the images x, whose NLL by the proposal is known.

    Arguments:
        images: their indices in x and in `nll`.
        progress: called with a number of images as they are done.
    """
    which = torch.tensor(images)
    options = Annealing(temperatures=_TEMPERATURES, chains=_CHAINS, batch=10, seed=seed)
    found = annealed(model, as_examples(x)[which].read(), options, progress=progress)
    return Referee(images, -found.log_px, PerImage(nll.values[which], nll.errors[which]))
