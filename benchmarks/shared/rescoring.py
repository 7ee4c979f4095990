"""Models of grey images, scored again under densities other than their own likelihood.

Shapes: S seeds, N images, data_shape such as (1, 28, 28). Densities are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from vaeflow import load
from vaeflow.comparison.differences import Difference, difference, over_seeds
from vaeflow.comparison.finished import Finished, look
from vaeflow.comparison.pairing import Pairing
from vaeflow.comparison.places import Place
from vaeflow.config.way import Way
from vaeflow.evaluation import Estimate
from vaeflow.model import VAE
from vaeflow.parts.likelihoods.continuous_bernoulli import TiltedUniform
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.build import images_of, load_data
from vaeflow.runtime.noise import Noise

CLIP = 1e-4  # in the code of Loaiza-Ganem & Cunningham (2019), λ stays so far from 0 and 1
LARGEST = math.log1p(-CLIP) - math.log(CLIP)  # η of such a λ


def tilt(mean: Tensor) -> Tensor:
    """Return η of the continuous Bernoulli that has a mean within (0, 1).

    The mean is a Langevin function, whose inverse Cohen (1991) has within 5 %. What he makes of the
    error that is left is added until none is: each time less than a tenth of it remains.
    """
    eta = wanted = _cohen(mean)
    for _ in range(10):
        eta = eta + wanted - _cohen(TiltedUniform(eta).mean)
    return eta


def _cohen(mean: Tensor) -> Tensor:
    y = 2 * mean - 1
    return y * (3 - y.square()) / (2 * mean * (1 - mean))


def rescore(model: VAE, x: Tensor, sigma: float, edge: float) -> dict[str, Tensor]:
    """Return log p(x|z) of x (N, *data_shape) under other densities (N,), one draw of q(z|x) each.

    "continuous" is the continuous Bernoulli that has the model's mean, and "gaussian" the Gaussian
    that has it. "logits", where the decoder emits some, is the continuous Bernoulli that takes them
    for its own. "…, clipped" keeps λ within the published limits.

    Arguments:
        model: of a likelihood that has a mean.
        x: grey values in [0, 1].
        sigma: of the Gaussian.
        edge: half a grey level; no pixel's mean is taken as nearer to 0 or 1.
    """
    parts: list[dict[str, Tensor]] = []
    for images in x.split(100):
        output, mean = _decode(model, images, edge)
        etas = {"continuous": tilt(mean)}
        if not hasattr(model.likelihood, "link"):  # a Gaussian's, from its output to its mean
            etas["logits"] = output
        etas |= {f"{name}, clipped": eta.clamp(-LARGEST, LARGEST) for name, eta in etas.items()}
        pixels = {name: TiltedUniform(eta).log_prob(images) for name, eta in etas.items()}
        pixels["gaussian"] = Normal(mean, sigma).log_prob(images)
        parts.append({name: values.flatten(1).sum(1) for name, values in pixels.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def best_sigma(model: VAE, x: Tensor, edge: float) -> float:
    """Return the σ of the Gaussian under which x (N, *data_shape) has the highest density."""
    errors = [(b - _decode(model, b, edge)[1]).square() for b in x.split(100)]
    return torch.cat(errors).mean().sqrt().item()


@torch.no_grad()
def _decode(model: VAE, x: Tensor, edge: float) -> tuple[Tensor, Tensor]:
    """Return the decoder's output at a draw of q(z|x) and the mean of p(x|z), in float64."""
    output = model.decoder(model.infer(x).rsample((1,)))[0].double()
    return output, model.likelihood(output).mean.clamp(edge, 1 - edge)


@dataclass(frozen=True)
class Scored:
    """The runs of a model, of S seeds, and figures of N test images, each (S, N).

    "elbo", "kl" and "squared_error" are those of its own likelihood, the others ELBOs under the
    densities of `rescore`.
    """

    runs: Sequence[Finished]
    sigmas: Sequence[float]  # of the Gaussian that scores each run
    figures: Mapping[str, Tensor]

    def mean(self, name: str) -> Estimate:
        """Return the mean of a figure ± its error."""
        return estimate(self.figures[name])

    def against(self, other: Scored, name: str) -> Difference:
        """Return the difference in a figure from another model's, paired by seed."""
        seeds = (tuple(run.seed for run in scored.runs) for scored in (self, other))
        return difference(self.figures[name], other.figures[name], Pairing(*seeds))

    @property
    def active_units(self) -> Estimate:
        """Return the number of latent dimensions in use."""
        return over_seeds([run.active_units or 0 for run in self.runs])

    @property
    def levels(self) -> int:
        """Return the number of grey levels."""
        return int(self.runs[0].stored.about["dequantize"])

    @property
    def bits_per_dimension(self) -> Estimate:
        """Return −ELBO in bits of a pixel's grey level."""
        unit = math.prod(self.runs[0].environment["data_shape"]) * math.log(2)
        return estimate(math.log2(self.levels) - self.figures["elbo"] / unit)


def estimate(values: Tensor) -> Estimate:
    """Return the mean of values (S, N) ± its error over seeds; of a single seed over images."""
    if len(values) == 1:
        return Estimate.of(values[0])
    return over_seeds(values.mean(1).tolist())


def measure(
    places: Sequence[Place], models: Mapping[str, Mapping[str, str]], samples: int
) -> dict[str, Scored]:
    """Score all runs; return the figures of each model, by its name.

    Arguments:
        places: the runs, trained and evaluated on the same data of grey levels, dequantized.
        models: name -> the keys of the flat configuration that tell its runs from others.
        samples: K of their evaluation.
    """
    plugins = load_plugins()
    runs = [
        run
        for place in places
        if isinstance(run := look(place, "test", Way("q", samples)), Finished)
    ]
    plan = runs[0].run.plan(plugins)
    splits = load_data(plan)
    validation, test = (
        images_of(splits, name, plan.config).values for name in ("validation", "test")
    )
    found = {}
    for name, options in models.items():
        own = [run for run in runs if options.items() <= run.config.items()]
        edge = 0.5 / own[0].stored.about["dequantize"]
        sigmas, each = [], []
        for run in own:
            model = load(run.run.path, plugins=plugins)
            with Noise(run.seed, model.device).private("rescoring"):
                sigmas.append(best_sigma(model, validation, edge))
                log_px = rescore(model, test, sigmas[-1], edge)
            kept = run.stored.bounds
            figures = {n: getattr(kept, n).values for n in ("elbo", "kl", "squared_error")}
            each.append(figures | {n: values - figures["kl"] for n, values in log_px.items()})
        figures = {n: torch.stack([one[n] for one in each]) for n in each[0]}
        found[name] = Scored(own, sigmas, figures)
    return found
