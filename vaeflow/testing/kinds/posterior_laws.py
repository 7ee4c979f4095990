"""Checks of a posterior's law as a whole: by integrals, by averages and, of its base, by draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions.draw import draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.testing.kinds.posteriors import features, posterior, with_jacobian, within
from vaeflow.testing.noise import given, log_normal, noise_law
from vaeflow.testing.probes import averages_to_one, normal
from vaeflow.testing.registered import MakePart, NotApplicable, register

# A fold moves the integral by tenths, the grid and its edge by far less.
_GRID_ERROR = 0.03
# Of a density r around one draw, as wide as this noise: it does not leak out of a bounded support.
_NARROW = (0.3, 0.1)


@register("posterior", core=True)
@torch.no_grad()
def covers_the_plane_once(part: MakePart) -> None:
    """∫ r(z(ε)) |det ∂z/∂ε| dε = 1 for a density r among the draws: no z has two noises."""
    for seed in (1,):
        module, h = posterior(part, 2, scale=1.0, seed=seed), features(1, seed=seed + 100)
        q = module(h)
        eps = within(module, h, normal(2000, 1, 2))
        near = given(q, eps).z.flatten(0, 1)
        total, allowed = _integral(q, DiagonalNormal(near.mean(0), (0.25 * near.var(0)).log()))
        if total < 1 - allowed:
            i = (near - near.median(0).values).square().sum(-1).argmin()
            with torch.enable_grad():
                middle, jacobian = with_jacobian(module, h, eps[i])
            for width in _NARROW:
                log_variance = (width * jacobian[0].norm(dim=-1)).square().log()
                total, allowed = _integral(q, DiagonalNormal(middle.z[0], log_variance))
                if total > 1 - allowed:
                    break
        assert abs(total - 1) < allowed, f"the integral is {total:.3f}, not 1"


def _integral(q: Distribution, r: Distribution) -> tuple[float, float]:
    """Return the integral over the plane of noise, and the error to allow for."""
    law = noise_law(q)
    widest = law if isinstance(law, float) else math.inf
    totals, allowed = _cells(q, r, 81, 1, reach=min(widest, 8)), _GRID_ERROR
    if not (totals - 1).abs() < allowed:
        # A map may bend more sharply than the grid resolves, or pull far noise near: wider and
        # finer grids then disagree, and their spread is allowed for.
        totals = _cells(q, r, 201, 6, reach=min(widest, 200))
        allowed += 4 * totals.std().item() / math.sqrt(len(totals))
    return totals.mean().item(), allowed


def _cells(q: Distribution, r: Distribution, side: int, repeats: int, reach: float) -> Tensor:
    """Sum r(z(ε)) |det ∂z/∂ε| over the cells of a square of ε, a random point in each.

    The square is ±reach wide; ε = sinh t of uniform cells of t, dense where the noise is.
    """
    half = math.asinh(reach)
    width = 2 * half / side
    corners = torch.arange(side, dtype=torch.float64) * width - half
    corner = torch.cartesian_prod(corners, corners)[:, None, :]
    totals = []
    for seed in range(repeats):
        t = corner + width * torch.special.ndtr(normal(*corner.shape, seed=seed + 30))
        parts = []
        for some in t.split(20_000):
            eps, log_slope = some.sinh(), some.cosh().log().sum(-1)
            sample = given(q, eps)
            log_r = r.log_prob(sample.z) + sample.log_noise - sample.log_prob
            # Where z overflows, or rounds to the edge of its support, r is 0.
            usable = sample.z.isfinite().all(-1) & sample.log_prob.isfinite()
            weight = (log_r + log_slope).exp().where(usable, 0.0)
            parts.append(weight.sum())
        totals.append(torch.stack(parts).sum() * width**2)
    return torch.stack(totals)


@register("posterior", core=True)
def weights_average_to_one(part: MakePart) -> None:
    """E_q[r(z)/q(z)] = 1 for a density r narrower than q, in three dimensions, by Monte Carlo."""
    latent, n, unjudged = 3, 8_000, []
    for seed, scale in enumerate((1.0, 0.5)):
        module, h = posterior(part, latent, scale=scale, seed=seed), features(1, seed=seed + 100)
        with torch.no_grad():
            torch.manual_seed(seed)
            sample = draw(module(h), (n,))
        z, log_q = sample.z[:, 0], sample.log_prob[:, 0]
        log_r, leaks = _narrower(module, h, z, seed)
        try:
            averages_to_one(log_r - log_q, "E[r/q]", at_most=leaks)
            return
        except NotApplicable as reason:
            unjudged.append(reason)
    raise unjudged[0]


def _narrower(module: nn.Module, h: Tensor, z: Tensor, seed: int) -> tuple[Tensor, bool]:
    """Return log r(z) (C, N) of some densities r narrower than q, and whether r may leak.

    An r with the shape of q around a draw may leak out of a bounded support. There the Jacobian
    tells whether log q is too high, and the average only whether some z has several noises.
    """
    eps = within(module, h, 0.7 * normal(6, z.shape[-1], seed=seed + 20))
    try:
        near, jacobian = with_jacobian(module, h.expand(6, -1), eps)
    except NotApplicable:  # its noise cannot be given
        log_variance = (0.1 * z.var(0)).log()
        near_draws = [DiagonalNormal(centre, log_variance).log_prob(z) for centre in z[:6]]
        return torch.stack(near_draws), False
    # r is the shape of q around one draw, where the map is nearly linear, but narrower.
    away = torch.linalg.solve_ex(0.5 * jacobian, (z - near.z[:, None]).mT).result.mT
    log_det = torch.linalg.slogdet(0.5 * jacobian).logabsdet
    return log_normal(away) - log_det[:, None], True
