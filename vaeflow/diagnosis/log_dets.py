"""The share of each map of a flow in log|det|.

Shapes: K samples, B batch, L latent size, T maps. Estimates are in nats per image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data
from vaeflow.distributions.draw import draw
from vaeflow.distributions.flow import Flow, StandardizedFlow
from vaeflow.errors import ConfigError
from vaeflow.evaluation.estimates import Estimate
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise


def log_dets(
    model: VAE, x: Data, *, samples: int = 100, batch: int = 100, seed: int = 0
) -> list[tuple[str, Estimate]]:
    r"""Return :math:`E_q \log|\det ∂f_t/∂z_{t-1}|` of each map of q(z|x), in order of application.

    Each has the name of the map's class, and its mean over the images x (N, *data_shape) with a
    standard error. The means add up to the mean log|det| of the flow's draws. A map that is itself
    a stack of T maps counts as T if it has a method `log_dets`, from z (*, L) to z and the terms
    (*, T), as the planar posterior's has.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: (N, *data_shape).
        samples: K, the draws of each image.
        batch: images at a time.
        seed: the result is a function of it, and of `batch`.

    Raises:
        ConfigError: if q(z|x) is no flow of maps.
    """
    names, each = log_dets_of_each(model, x, samples=samples, batch=batch, seed=seed)
    return [(name, Estimate.of(values)) for name, values in zip(names, each, strict=True)]


@torch.no_grad()  # not inference mode: a part may differentiate inside its forward
def log_dets_of_each(
    model: VAE, x: Data, *, samples: int = 100, batch: int = 100, seed: int = 0
) -> tuple[list[str], Tensor]:
    """Return the names of the T maps and their mean log|det| for each image, (T, N), float64.

    The arguments and the errors are those of `log_dets`.
    """
    names: list[str] = []
    parts: list[Tensor] = []
    with Noise(seed, model.device).private("log-dets"), frozen(model):
        for images in x.split(batch):
            flow = _flow(model.infer(images.to(model.device)))
            names, terms = _walk(flow, samples)
            parts.append(terms)
    return names, torch.cat(parts, 1)


def _flow(q: Distribution) -> Flow:
    if isinstance(q, StandardizedFlow):
        return q.noise  # whose maps bend the noise before it is scaled
    if isinstance(q, Flow):
        return q
    raise ConfigError(
        f"{type(q).__name__} has no maps whose log-determinants could be told apart: choose a "
        "--posterior that is a flow"
    )


def _walk(flow: Flow, samples: int) -> tuple[list[str], Tensor]:
    """Return each map's name, and the mean over K draws of its log|det|, (T, B), float64."""
    z = draw(flow.base, (samples,)).z
    names: list[str] = []
    means = [torch.zeros(0, z.shape[1], dtype=torch.float64)]
    for f in flow.maps:
        if hasattr(f, "log_dets"):
            z, terms = f.log_dets(z)  # (K, B, T)
        else:
            z, term = f(z)
            terms = term.expand(z.shape[:-1])[..., None]
        names += [type(f).__name__] * terms.shape[-1]
        means.append(terms.cpu().double().mean(0).T)
    return names, torch.cat(means)
