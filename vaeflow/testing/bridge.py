"""The total mass of a density on all of space, from its draws and a Gaussian fitted to them.

Shapes: N draws, L values, C components. Densities are in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vaeflow.distributions.mixture import DiagonalNormalMixture
from vaeflow.testing.conditionals import LogProb

_COMPONENTS = 10
_STEPS = 15
_ROUNDS = 50


@torch.no_grad()
def bridge(log_prob: LogProb, draws: Tensor) -> tuple[float, float]:
    r"""Return log ∫ p(z) dz and its standard error, from p's draws, by bridge sampling.

    For a normalized g and any α, :math:`∫ p = E_g[α p] / E_p[α g]`. The best α is
    :math:`1/(p/r + g)` for r = ∫ p, found by iteration (Meng & Wong 1996, section 3). Half of the
    draws fit g. The estimate holds for every g; a poor one shows in the error.

    Arguments:
        log_prob: (n, L) to (n,).
        draws: (N, L), of p.
    """
    seen, new = draws[::2], draws[1::2]
    g = max((_gaussian(seen), _mixture(seen)), key=lambda g: g.log_prob(new).mean().item())
    fitted = g.sample(new.shape[:1])
    # log p − log g at draws of g, and at draws of p.
    at_g, at_p = (log_prob(z) - g.log_prob(z) for z in (fitted, new))
    log_r = at_p.median()
    for _ in range(_ROUNDS):
        over = -torch.logaddexp(-(at_g - log_r), torch.zeros_like(at_g))  # log p/(p + r g)
        under = -torch.logaddexp(at_p - log_r, torch.zeros_like(at_p))  # log r g/(p + r g)
        gap = over.logsumexp(0) - under.logsumexp(0)
        log_r = log_r + gap
        if gap.abs() < 1e-6:
            break
    errors = [x.exp().std() / x.exp().mean() / math.sqrt(len(x)) for x in (over, under)]
    return log_r.item(), math.hypot(*(e.item() for e in errors))


def _gaussian(z: Tensor) -> Distribution:
    """Return the Gaussian of the mean and covariance of draws, slightly shrunk to the diagonal."""
    covariance = z.T.cov().reshape(z.shape[1], z.shape[1])
    diagonal = covariance.diagonal().clamp(min=1e-300).diag()
    shrink = min(0.5, z.shape[1] / len(z))
    return MultivariateNormal(
        z.mean(0), (1 - shrink) * covariance + shrink * diagonal, validate_args=False
    )


def _mixture(z: Tensor) -> DiagonalNormalMixture:
    """Return a mixture of diagonal Gaussians, fitted by a few steps of EM from far draws."""
    floor = 1e-4 * z.var(0) + 1e-300
    scaled = z / floor.sqrt()
    chosen = [0]
    for _ in range(1, _COMPONENTS):  # the draw that is farthest from those chosen
        chosen.append(int(torch.cdist(scaled, scaled[chosen]).amin(1).argmax()))
    loc, variance = z[chosen], z.var(0).expand(len(chosen), -1)
    logits = torch.zeros(len(chosen)).to(z)
    for _ in range(_STEPS):
        log_n = -0.5 * ((z[:, None] - loc).square() / variance + variance.log()).sum(-1)
        share = (log_n + logits).softmax(1)
        total = share.sum(0) + 1e-6
        loc = share.T @ z / total[:, None]
        variance = (share.T @ z.square() / total[:, None] - loc.square()).clamp(min=floor)
        logits = total.log()
    return DiagonalNormalMixture(logits, loc, variance.log())
