"""The pictures that are drawn while a run trains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.examples import Examples
from vaeflow.data.stored import ends
from vaeflow.model import VAE
from vaeflow.pictures import draw, is_drawable, span_of
from vaeflow.runs.build import images_of
from vaeflow.runs.prepare import Experiment
from vaeflow.training.observers.gallery import Gallery, Picture

_PAIRS = 16  # examples in a picture of reconstructions
_SAMPLES = 64


def gallery_of(experiment: Experiment) -> Gallery:
    """Return what is drawn of a run's model, on held-out data of its own."""
    config = experiment.config
    if not config.image_every:
        return Gallery()
    held_out = images_of(experiment.splits, "validation", config)
    pictures: dict[str, Picture] = {}
    if is_drawable(tuple(held_out.shape[1:])):
        span = span_of(*ends(experiment.splits.kept("train")))
        pictures |= _examples(held_out, span)
    return Gallery(pictures, config.image_every)


def _examples(held_out: Examples, span: tuple[float, float]) -> Mapping[str, Picture]:
    """Return the pictures of reconstructions and of samples."""
    some = held_out[:_PAIRS].read()
    beside = held_out[torch.arange(_SAMPLES) % len(held_out)].read()

    def reconstructions(model: VAE) -> np.ndarray:
        x = some.to(model.device)
        return _pixels(draw(x.values, model.reconstruct(x), span=span, across=4))

    def samples(model: VAE) -> np.ndarray:
        return _pixels(draw(model.sample(_SAMPLES, condition=beside), span=span))

    return {"reconstructions": reconstructions, "samples": samples}


def _pixels(picture: Tensor) -> np.ndarray:
    """Return a picture (C, H, W) in [0, 1] as (H, W) or (H, W, 3), 8 bits each."""
    values = (picture.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
    return values.squeeze(-1) if values.shape[-1] == 1 else values
