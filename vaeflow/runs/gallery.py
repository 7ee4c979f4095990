"""The pictures and the histograms that are drawn while a run trains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaeflow.data.examples import Examples
from vaeflow.data.stored import ends
from vaeflow.diagnosis.log_dets import log_dets_of_each
from vaeflow.diagnosis.plane import windows
from vaeflow.diagnosis.portraits import portraits
from vaeflow.distributions.flow import Flow
from vaeflow.evaluation.active_units import active_units, evenly_spaced
from vaeflow.evaluation.dimensions import kl_per_dimension
from vaeflow.latents.scatter import scatter
from vaeflow.model import VAE
from vaeflow.pictures import draw, is_drawable, pixels, span_of
from vaeflow.runs.build import images_of
from vaeflow.runs.given import Given, of_splits
from vaeflow.runs.latent import tells_rows_apart
from vaeflow.runs.prepare import Experiment
from vaeflow.runtime.frozen import frozen
from vaeflow.training.observers.gallery import Gallery, Numbers, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAIRS = 16  # examples in a picture of reconstructions
_SAMPLES = 64
_PORTRAITS = 3  # examples whose posterior is drawn
_SIDE = 48  # of the grid of a posterior
_CODES = 500  # points of a scatter plot
_SELDOM = ("posterior", "codes")  # which take a third of a second
_MEASURED = 100  # examples in a histogram
_DRAWS = 20  # of z for each, where they are needed
_MAPS = 16  # of a flow of more the sum alone is shown


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
    if config.latent == 2:
        pictures["posterior"] = partial(_posterior, held_out[:_PORTRAITS].read())
        pictures["codes"] = partial(_codes, of_splits(experiment.splits, ("validation",), config))
    some = evenly_spaced(held_out, min(_MEASURED, len(held_out))).read()
    histograms: dict[str, Numbers] = {
        "latent": partial(_dimensions, some),
        "log_det": partial(_log_dets, some),
    }
    return Gallery(pictures, config.image_every, histograms, _SELDOM, config.epochs)


def _examples(held_out: Examples, span: tuple[float, float]) -> Mapping[str, Picture]:
    """Return the pictures of reconstructions and of samples."""
    some = held_out[:_PAIRS].read()
    beside = held_out[torch.arange(_SAMPLES) % len(held_out)].read()

    def reconstructions(model: VAE) -> np.ndarray:
        x = some.to(model.device)
        return pixels(draw(x.values, model.reconstruct(x), span=span, across=4))

    def samples(model: VAE) -> np.ndarray:
        return pixels(draw(model.sample(_SAMPLES, condition=beside), span=span))

    return {"reconstructions": reconstructions, "samples": samples}


def _posterior(some: Examples, model: VAE) -> np.ndarray:
    """Draw q(z|x) of some examples over p(z|x), for a latent space of two dimensions."""
    x = some.to(model.device)
    with frozen(model), torch.no_grad():
        qs = {"q(z|x)": model.infer(x)}
    return _drawn(portraits(windows(model, x, qs, side=_SIDE, draws=500), x.values))


def _codes(given: Given, model: VAE) -> np.ndarray:
    """Draw the codes of held-out examples in their plane, by their first label if they have one."""
    index = torch.linspace(0, len(given) - 1, min(_CODES, len(given))).round().long()
    z = model.encode(given.examples[index].read(), draws=_DRAWS).cpu().numpy()
    labels = {name: v for name, v in given.beside.items() if not tells_rows_apart(v)}
    name, values = next(iter(labels.items()), ("", None))
    chosen = None if values is None else values[index.numpy()]
    return _drawn(scatter(z, chosen, name=name, title="means of q(z|x) of validation data"))


def _drawn(figure: Figure) -> np.ndarray:
    """Return a figure as (H, W, 3), 8 bits each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@torch.no_grad()
def _dimensions(some: Examples, model: VAE) -> Mapping[str, np.ndarray]:
    """Return the figures of each latent dimension.

    They are the variance of the means of q over the examples, by which active units are counted,
    and the KL, of a Gaussian or of a product as the prior.
    """
    x = some.to(model.device)
    found = {}
    with frozen(model):
        kl = kl_per_dimension(model.infer(x), model.latent_prior(), draws=_DRAWS)
        units = active_units(model, x, most=len(x) * _DRAWS)
    if kl is not None:
        found["latent/kl_per_dimension"] = kl.cpu().numpy()
    variances = np.array([one.mean for one in units.variances])
    return {**found, "latent/variance_of_means": variances} if len(variances) else found


def _log_dets(some: Examples, model: VAE) -> Mapping[str, np.ndarray]:
    """Return log|det| of each map for each example; a map that keeps volumes is left out."""
    with torch.no_grad(), frozen(model):
        q = model.infer(some[:1].to(model.device))
    if not isinstance(q, Flow):
        return {}
    names, each = log_dets_of_each(model, some, samples=_DRAWS)
    bending = [i for i, values in enumerate(each) if values.any()]
    if len(bending) > _MAPS:
        return {"log_det/sum": each.sum(0).numpy()}
    return {f"log_det/{i + 1:02} {names[i]}": each[i].numpy() for i in bending}
