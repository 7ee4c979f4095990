"""Annealed importance sampling of log p(x): a bound from below, and one from above.

Shapes: C chains, B batch, L latent size, T steps of the path. Estimates are in nats per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vaeflow.data.examples import Data
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.estimates import PerImage
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen

ACCEPTANCE = 0.65  # near the best of HMC in many dimensions (Beskos et al. 2013)
_SCOUTS = 8  # chains of each image that find its step sizes
_SETTLE = 20  # transitions at the first temperature until they are near
_RATE = 0.5  # of the adaptation, in log step size per unit of acceptance
_JITTER = 0.2  # of the step size: no trajectory is as long as an orbit each time
_STEEPNESS = 4.0  # of the schedule


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """How images are annealed.

    Attributes:
        temperatures: T; the bound tightens as 1/T.
        chains: C.
        leapfrog: steps of each trajectory, one pass through the decoder and back each.
        batch: images at a time.
        seed: the result is a function of it, and of `batch`.
    """

    temperatures: int = 500
    chains: int = 16
    leapfrog: int = 10
    batch: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Annealed:
    """Annealed importance weights of C chains at each of N images."""

    log_weight: Tensor  # (C, N), float64 on the CPU: the mean of e^(log w) is p(x), or 1/p(x)
    acceptance: Tensor  # (N,): the mean rate over chains and temperatures
    backwards: bool  # from posterior samples to the prior: the weights estimate 1/p(x)

    def __repr__(self) -> str:
        chains, images = self.log_weight.shape
        return f"Annealed({chains:,} chains, {images:,} images, log_px={self.log_px.over_images})"

    @property
    def log_px(self) -> PerImage:
        """Return the bound of each image, from below, or from above if run backwards."""
        bound = PerImage.log_mean_exp(self.log_weight)
        return -bound if self.backwards else bound


def schedule(temperatures: int) -> Tensor:
    r"""Return β_0 = 0 … β_T = 1 (T + 1), dense at both ends.

    .. math:: β_t = \frac{\tilde β_t - \tilde β_0}{\tilde β_T - \tilde β_0}, \quad
        \tilde β_t = \mathrm{sigmoid}(δ (2t/T - 1)), \quad δ = 4

    (Grosse et al. 2015.)
    """
    raw = torch.sigmoid(_STEEPNESS * torch.linspace(-1, 1, temperatures + 1, dtype=torch.float64))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def annealed(
    model: VAE,
    x: Data,
    options: Annealing | None = None,
    *,
    progress: Advance = unseen,
) -> Annealed:
    r"""Bound log p(x) of the images x (N, *data_shape) from below.

    .. math:: \log w = \sum_{t=1}^T (β_t - β_{t-1}) \log p(x|z_{t-1}), \quad E[w] = p(x)

    (Neal 2001; for decoders Wu et al. 2017.) z_0 is a draw of the prior, and z_t follows from
    z_{t−1} by Hamiltonian Monte Carlo that leaves p(z) p(x|z)^β_t as it is. Step sizes are found by
    a preliminary run with chains of its own and then held fixed: given them, each transition is
    invariant, so that E[w] = p(x) holds exactly, however badly they were chosen.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score.
        options: T, C and the rest.
        progress: called with the number of images done.

    Raises:
        ConfigError: if there are fewer than two temperatures.
    """
    return _run(model, x, None, options or Annealing(), progress)


def annealed_backwards(
    model: VAE,
    x: Data,
    z: Tensor,
    options: Annealing | None = None,
    *,
    progress: Advance = unseen,
) -> Annealed:
    r"""Bound log p(x) from above, for images with an exact posterior sample each.

    .. math:: \log \tilde w = -\sum_{t=1}^T (β_t - β_{t-1}) \log p(x|z_{t-1}), \quad
        E[\tilde w] = 1/p(x)

    An image that the model made itself has such a sample: the z from which x was drawn. All chains
    of an image start from it, as z_{T−1}, and follow the path of `annealed` to the prior. −log of
    their mean weight is above log p(x) in expectation (bidirectional Monte Carlo, Grosse et al.
    2015). The step sizes come from a preliminary run that starts from the prior and never sees z:
    given them, z is still a posterior sample.

    Arguments:
        x, z: (N, *data_shape) and (N, L), jointly drawn from p(x, z); see `simulate`.

    The other arguments are those of `annealed`.

    Raises:
        ConfigError: if there are fewer than two temperatures.
        DataError: if there is not one z for each image.
    """
    if z.shape != (len(x), model.posterior.latent):
        raise DataError(
            f"z has the shape {tuple(z.shape)}, but {(len(x), model.posterior.latent)} is expected:"
            " give one latent vector for each image"
        )
    return _run(model, x, z, options or Annealing(), progress)


def _run(
    model: VAE,
    x: Data,
    z: Tensor | None,
    options: Annealing,
    progress: Advance,
) -> Annealed:
    if options.temperatures < 2:
        raise ConfigError(
            f"--temperatures {options.temperatures} leaves nothing between prior and posterior: "
            "give 2 or more"
        )
    betas = schedule(options.temperatures).tolist()
    batch, chains = options.batch, options.chains
    weights: list[Tensor] = []
    rates: list[Tensor] = []
    # Other noise in each direction: the width of the bracket takes its two bounds as independent.
    way = "annealing" if z is None else "annealing backwards"
    with Noise(options.seed, model.device).private(way), frozen(model):
        for start in range(0, len(x), batch):
            images = x[start : start + batch].to(model.device)
            path = _Path(model, images, options.leapfrog)
            steps = path.step_sizes(betas, min(chains, _SCOUTS))
            if z is None:
                log_weight, rate = path.walk(path.prior_point(chains), betas, steps)
            else:
                exact = z[start : start + batch].to(images.device).expand(chains, -1, -1)
                log_weight, rate = path.walk(path.at(exact), betas[::-1], steps[::-1])
            weights.append(log_weight)
            rates.append(rate)
            progress(len(images))
    return Annealed(torch.cat(weights, 1), torch.cat(rates), backwards=z is not None)


class _Point(NamedTuple):
    """Where the chains are, with both log densities and their slopes there."""

    z: Tensor  # (C, B, L)
    log_pz: Tensor  # (C, B)
    log_px: Tensor  # (C, B)
    slope_pz: Tensor  # (C, B, L)
    slope_px: Tensor  # (C, B, L)

    def log_density(self, beta: float) -> Tensor:
        return self.log_pz + beta * self.log_px

    def slope(self, beta: float) -> Tensor:
        return self.slope_pz + beta * self.slope_px


class _Path:
    """The distributions p(z) p(x|z)^β of a batch of images, and moves that leave them invariant."""

    def __init__(self, model: VAE, x: Data, leapfrog: int) -> None:
        self.model = model
        self.x = x
        self.leapfrog = leapfrog
        self.prior = model.latent_prior()

    def prior_point(self, chains: int) -> _Point:
        return self.at(self.prior.sample((chains, len(self.x))))

    def at(self, z: Tensor) -> _Point:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_pz = self.prior.log_prob(z)
            log_px = self.model.log_px(z, self.x)
            (slope_pz,) = torch.autograd.grad(log_pz.sum(), z)
            (slope_px,) = torch.autograd.grad(log_px.sum(), z)
        return _Point(z.detach(), log_pz.detach(), log_px.detach(), slope_pz, slope_px)

    def walk(self, point: _Point, betas: list[float], steps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the log weights (C, B) along β, up or down, and the mean acceptance (B,)."""
        log_weight = torch.zeros(point.log_px.shape, dtype=torch.float64)
        accepted = torch.zeros(len(self.x), dtype=torch.float64)
        last = len(betas) - 1
        for i in range(1, last + 1):
            log_weight += (betas[i] - betas[i - 1]) * point.log_px.cpu().double()
            if i < last:
                point, probability = self.move(point, betas[i], steps[i])
                accepted += probability.mean(0).cpu()
        return log_weight, accepted / (last - 1)

    def step_sizes(self, betas: list[float], chains: int) -> list[Tensor]:
        """Return a step size (B,) for each β, by which about `ACCEPTANCE` is accepted.

        The chains go up the path once; the step size follows their rate from one β to the next.
        """
        point = self.prior_point(chains)
        step = point.z.new_full((len(self.x),), point.z.shape[-1] ** -0.25)
        found = [step] * len(betas)
        for i in [1] * _SETTLE + list(range(1, len(betas) - 1)):
            point, probability = self.move(point, betas[i], step)
            step = step * (_RATE * (probability.mean(0) - ACCEPTANCE)).exp()
            found[i] = step
        return found

    def move(self, point: _Point, beta: float, step: Tensor) -> tuple[_Point, Tensor]:
        """Return the chains after one trajectory, and the probability (C, B) of its acceptance.

        The jitter of the step size and the momenta are drawn independently of z, so the move is
        reversible, and the same move serves both directions of the path.
        """
        jitter = 1 + _JITTER * (2 * torch.rand_like(point.log_px) - 1)
        e = (step * jitter)[..., None]
        momentum = torch.randn_like(point.z)
        before = point.log_density(beta) - 0.5 * momentum.square().sum(-1)
        momentum = momentum + 0.5 * e * point.slope(beta)
        end = point
        for k in range(1, self.leapfrog + 1):
            end = self.at(end.z + e * momentum)
            momentum = momentum + (e if k < self.leapfrog else 0.5 * e) * end.slope(beta)
        after = end.log_density(beta) - 0.5 * momentum.square().sum(-1)
        # A trajectory that leaves the range of the numbers ends in NaN, and is refused.
        probability = (after - before).clamp(max=0).exp().nan_to_num(0.0)
        moved = torch.rand_like(probability) < probability
        return _choose(moved, end, point), probability


def _choose(which: Tensor, there: _Point, here: _Point) -> _Point:
    """Return `there` for the chains marked in which (C, B), `here` for the others."""
    return _Point(
        *(
            torch.where(which if new.dim() == which.dim() else which[..., None], new, old)
            for new, old in zip(there, here, strict=True)
        )
    )
