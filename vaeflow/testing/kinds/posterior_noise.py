r"""Checks of the noise of a posterior that is not one normal or uniform number per dimension.

What replaces it in the other checks is a point of its support, at its density. Here its own draws
are held to that density, in the coordinates w of a smooth map from R^L onto the support.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints

from vaeflow.distributions.draw import draw
from vaeflow.testing.bridge import bridge
from vaeflow.testing.kinds.posteriors import features, posterior
from vaeflow.testing.noise import innermost, noise_law
from vaeflow.testing.probes import normal
from vaeflow.testing.registered import MakePart, NotApplicable, register

_DRAWS = 10_000


class Coordinates:
    """The coordinates w = asinh((y − m)/s), z = f(y) for the bijection f from R^L to a support.

    m and s are the median of the draws of p and their median distance from it: a heavy tail
    becomes light.
    """

    def __init__(self, p: Distribution, z: Tensor) -> None:
        self.p = p
        try:
            self.into = biject_to(p.support)
        except NotImplementedError:
            self.into = biject_to(constraints.real_vector)
        y = self.into.inv(z)
        self.middle = y.median(0).values
        self.scale = (y - self.middle).abs().median(0).values + 1e-12
        self.w = ((y - self.middle) / self.scale).asinh()  # of the draws z (N, *, L)

    def log_prob(self, w: Tensor) -> Tensor:
        """Return the log density over w (N, *, L), (N, *)."""
        y = self.middle + self.scale * w.sinh()
        z = self.into(y)
        slope = self.into.log_abs_det_jacobian(y, z)
        log_prob = self.p.log_prob(z)
        while slope.dim() > log_prob.dim():
            slope = slope.sum(-1)
        total: Tensor = log_prob + slope + (self.scale.log() + w.cosh().log()).sum(-1)
        return total


def _coordinates(part: MakePart, latent: int, seed: int) -> Coordinates:
    """Return coordinates of the noise for one image, with draws w (N, 1, L)."""
    q = posterior(part, latent, scale=0.5, seed=seed)(features(1, seed=seed + 100))
    if not isinstance(noise_law(q), Distribution):
        raise NotApplicable("its noise is one number for each dimension, which the checks replace")
    p = innermost(q)
    torch.manual_seed(seed)
    z = draw(p, (_DRAWS,)).z.detach()
    try:
        p.log_prob(z)
    except (NotImplementedError, KeyError):
        raise NotApplicable("its noise has no density: see log_q_matches_the_jacobian") from None
    return Coordinates(p, z)


@register("posterior", core=True)
@torch.no_grad()
def noise_follows_its_density(part: MakePart) -> None:
    """Noise that is not normal has the density it is scored by: in one dimension, its quantiles."""
    for seed in range(3):
        at = _coordinates(part, 1, seed)
        w = torch.linspace(-25, 25, 50_001, dtype=torch.float64)
        density = at.log_prob(w[:, None, None]).exp().flatten().nan_to_num()
        below = torch.cumulative_trapezoid(density, w)
        total = below[-1].item()
        assert abs(total - 1) < 2e-3, f"the density of the noise integrates to {total:.4f}, not 1"
        drawn = at.w.flatten().sort().values
        seen = (torch.arange(_DRAWS) + 0.5) / _DRAWS
        place = ((drawn + 25) / (w[1] - w[0])).long().clamp(0, len(below) - 1)
        gap = (below[place] - seen).abs().max().item()
        assert gap < 2.3 / math.sqrt(_DRAWS), (
            f"a share of {gap:.3f} of the noise lies elsewhere than its density says"
        )


@register("posterior", core=True)
def noise_follows_its_density_in_many_dimensions(part: MakePart) -> None:
    """Noise that is not normal has its density for 2 to 40 dimensions: mass and slopes."""
    for seed, latent in enumerate((2, 5, 20, 40)):
        at = _coordinates(part, latent, seed)
        w = at.w.clone().requires_grad_()
        (slope,) = torch.autograd.grad(at.log_prob(w).sum(), w)
        _slopes_vanish_on_average(w.detach()[:, 0], slope[:, 0], latent)
        log_mass, error = bridge(_row_by_row(at), at.w[:, 0])
        if error > 0.1:
            raise NotApplicable(f"its mass at latent size {latent} is known only to ±{error:.2g}")
        assert abs(log_mass) < 5 * error + 0.01, (
            f"log q of the noise is off by {log_mass:.3f} ± {error:.3f} at latent size {latent}"
        )


def _slopes_vanish_on_average(w: Tensor, slope: Tensor, latent: int) -> None:
    """Hold draws w (N, L) to Stein's identity E[f(w_j) ∂ log p/∂w_i] = −[i = j] E[f'(w_i)]."""
    f = w.tanh()
    terms = slope[:, :, None] * f[:, None, :] + torch.diag_embed(1 - f * f)
    terms = torch.cat([terms.flatten(1), _together(w, slope, f)], 1)
    error = terms.std(0) / math.sqrt(len(w))
    off = (terms.mean(0).abs() / error.clamp_min(1e-9)).max().item()
    assert off < 6, (
        f"the noise is drawn from another density than it is scored by, at latent size {latent}: "
        f"a mean is {off:.0f} standard errors off"
    )


def _row_by_row(at: Coordinates) -> Callable[[Tensor], Tensor]:
    """Return the log density of the one image's noise as a function of w (N, L)."""
    return lambda w: at.log_prob(w[:, None])[:, 0]


def _together(w: Tensor, slope: Tensor, f: Tensor) -> Tensor:
    """Return Stein's terms (N, 2) of the fields f and f g(Σ f²), which see even dependence."""
    total = (f * f).sum(-1, keepdim=True)
    spread = total.std() + 1e-9
    g = ((total - total.mean()) / spread).tanh()
    slope_f = 1 - f * f
    plain = (slope * f + slope_f).sum(-1)
    bent = (slope * f * g + slope_f * g + 2 * f * f * slope_f * (1 - g * g) / spread).sum(-1)
    return torch.stack([plain, bent], 1)


@register("posterior")
def gradients_of_its_noise_are_those_of_its_law(part: MakePart) -> None:
    """Draws of noise that is not normal move as its density does: E[∇f(z) ∂z] = E[f(z) ∂ log q]."""
    for seed, latent in enumerate((1, 3)):
        _coordinates(part, latent, seed)  # which tells where nothing is to be checked
        module = posterior(part, latent, scale=0.5, seed=seed)
        h = features(1, seed=seed + 100).repeat(_DRAWS, 1).requires_grad_()
        p = innermost(module(h))
        torch.manual_seed(seed)
        z = p.rsample()
        middle = z.detach().median(0).values
        scale = (z.detach() - middle).abs().median(0).values
        f = ((z - middle) / scale).tanh().sum(-1)
        along = normal(h.shape[-1], seed=seed + 5)
        log_q = p.log_prob(z.detach())
        if not log_q.requires_grad:
            raise NotApplicable("its noise does not depend on the features")
        path = torch.zeros_like(h)
        if f.requires_grad:
            (path,) = torch.autograd.grad(f.sum(), h, retain_graph=True)
        (score,) = torch.autograd.grad(log_q.sum(), h)
        centred = f.detach() - f.detach().mean()
        terms = (path @ along) - centred * (score @ along)
        off = terms.mean().abs() / (terms.std() / math.sqrt(_DRAWS) + 1e-9)
        assert off < 6, (
            f"the mean derivative of a draw is {off:.0f} standard errors from that of its law"
        )
