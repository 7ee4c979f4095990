"""Checks of what a posterior's distribution offers beside its one-pass draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from vaeflow.distributions.draw import draw, grad_log_prob
from vaeflow.distributions.flow import Flow, StandardizedFlow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.testing.dropout import fixed_dropout
from vaeflow.testing.kinds.posteriors import (
    features,
    in_training,
    posterior,
    tolerance,
    within,
)
from vaeflow.testing.noise import GivenNoise, given, noise_law
from vaeflow.testing.probes import close, normal
from vaeflow.testing.registered import MakePart, NotApplicable, Refused, register

_DRAWS = 20_000
# Latent sizes, and how far out the draws are that are scored from outside.
_OUTSIDE = ((3, 1.0), (3, 4.0), (3, 8.0), (1, 1.0), (20, 2.0), (40, 1.0), (64, 1.0))


@register("posterior")
@torch.no_grad()
def scores_its_draws_from_outside(part: MakePart) -> None:
    """Where q.log_prob(z) exists, it is the density that came with the draw z, far out too."""
    for latent, far in _OUTSIDE:
        try:
            module, h = posterior(part, latent, scale=0.5), features(3)
        except Refused:
            continue
        eps = within(module, h, far * normal(4, 3, latent))
        sample = given(module(h), eps)
        try:
            seen = module(h).log_prob(sample.z)
        except (NotImplementedError, KeyError):  # Pyro's planar-like transforms raise the latter
            raise NotApplicable("it scores its own draws alone") from None
        # An inverse may be found by bisection.
        what = f"q.log_prob of a draw at noise of {far:g}σ"
        close(seen, sample.log_prob, what, max(1e-4, tolerance(module)))


@register("posterior")
def slope_of_log_q_is_its_own(part: MakePart) -> None:
    """∂ log q(z)/∂z at a draw, which stl, dreg and diagnose use, is how log q changes with z."""
    for latent, far in ((1, 1.0), (3, 4.0), (3, 8.0), (12, 1.0)):
        with suppress(Refused):
            module = posterior(part, latent, scale=0.5)
            _follows(in_training(module) if latent == 12 else module, latent, far)
    narrow, h = posterior(part, 3, scale=0.5, dtype=torch.float32), features(4, torch.float32)
    eps = within(narrow, h, normal(4, 4, 3, dtype=torch.float32)).float()
    seen = _slope(narrow, h, eps).double()
    wide = posterior(part, 3, scale=0.5, dtype=torch.float32).double()
    close(seen, _slope(wide, h.double(), eps.double()), "∂ log q(z)/∂z in float32", 1e-2)


def _follows(module: nn.Module, latent: int, far: float) -> None:
    """Compare the slope of log q along a direction of noise with a step of z and of log q."""
    h = features(4)
    eps = within(module, h, far * normal(10, 4, latent))
    if isinstance(noise_law(module(h)), Distribution):
        raise NotApplicable("its noise is not one number for each dimension")
    seen = _slope(module, h, eps)
    along, error = normal(10, 4, latent, seed=9), tolerance(module)
    step = 1e-5 if error <= 1e-9 else error ** (1 / 3)
    ends = []
    for side in (step, -step):
        with torch.no_grad(), fixed_dropout(module):
            ends.append(given(module(h), eps + side * along))
    up, down = ends
    moved = (seen * (up.z - down.z)).sum(-1) / (2 * step)
    wanted = (up.log_prob - down.log_prob) / (2 * step)
    # z is known to its last digit, which a steep slope magnifies.
    digits = 1e-15 * (seen.abs() * (1 + up.z.abs())).sum(-1) / step
    allowed = (1e-5 + 20 * (error if error > 1e-9 else 0.0) ** (2 / 3)) * (1 + wanted.abs())
    off = ((moved - wanted).abs() - allowed - 10 * digits).nan_to_num(math.inf).flatten()
    # A step may cross a knot of a spline or the kink of a ReLU, a wrong slope is so everywhere.
    assert off.quantile(0.8) <= 0, (
        f"∂ log q(z)/∂z at noise of {far:g}σ: off by {(moved - wanted).flatten()[off.argmax()]:.3g}"
    )


def _slope(module: nn.Module, h: Tensor, eps: Tensor) -> Tensor:
    """Return ∂ log q(z)/∂z (K, B, L) at the draw of the noise ε."""
    with fixed_dropout(module):
        q = module(h)
        with GivenNoise(eps):
            sample = draw(q, eps.shape[:1])
    try:
        return grad_log_prob(q, sample)
    except (NotImplementedError, KeyError):
        raise NotApplicable("it scores its own draws alone") from None


@register("posterior")
@torch.no_grad()
def log_dets_of_its_maps_add_up(part: MakePart) -> None:
    """Of a map that tells its log-determinants apart, z and their sum are those of the map."""
    found = False
    for latent in (1, 4, 20):
        module, h = posterior(part, latent), features(3)
        q = module(h)
        flow = q.noise if isinstance(q, StandardizedFlow) else q
        for f in flow.maps if isinstance(flow, Flow) else ():
            if hasattr(f, "log_dets"):
                found = True
                for far in (1.0, 6.0):
                    z0 = far * normal(5, 3, latent)
                    (z, log_det), (seen, terms) = f(z0), f.log_dets(z0)
                    close(seen, z, "z beside log_dets", tolerance(module))
                    close(terms.sum(-1), log_det.expand(z.shape[:-1]), "the sum of log_dets",
                          tolerance(module))  # fmt: skip
    if not found:
        raise NotApplicable("no map tells log-determinants apart")


@register("posterior")
@torch.no_grad()
def rsample_gives_its_draws(part: MakePart) -> None:
    """q.rsample and q.sample, from which pictures are made, give the z of the draw."""
    module, h = posterior(part, 3), features(3)
    eps = within(module, h, normal(2, 3, 3))
    if isinstance(noise_law(module(h)), Distribution):
        raise NotApplicable("its noise is not one number for each dimension")
    wanted = given(module(h), eps).z
    for name in ("rsample", "sample"):
        with GivenNoise(eps):
            seen = getattr(module(h), name)((2,))
        close(seen, wanted, name, tolerance(module))


@register("posterior")
@torch.no_grad()
def closed_forms_are_its_own(part: MakePart) -> None:
    """Mean, variance, entropy and KL(q‖p) for a Gaussian p, where known, are those of its draws."""
    q = posterior(part, 2, scale=0.5)(features(1))
    zero = torch.zeros(2, dtype=torch.float64)
    p = DiagonalNormal(zero, zero + 1)
    formulas: dict[str, Callable[[], Tensor]] = {
        "the KL": lambda: kl_divergence(q, p),
        "the entropy": q.entropy,
        "the mean": lambda: q.mean,
        "the variance": lambda: q.variance,
    }
    known = {
        what: value for what, formula in formulas.items() if (value := _value(formula)) is not None
    }
    if not known:
        raise NotApplicable("no closed form of it is known")
    torch.manual_seed(3)
    sample = draw(q, (_DRAWS,))
    z, log_q = sample.z[:, 0], sample.log_prob[:, 0]
    terms = {
        "the KL": log_q - p.log_prob(z),
        "the entropy": -log_q,
        "the mean": z,
        "the variance": (z - z.mean(0)).square(),
    }
    for what, value in known.items():
        mean, error = terms[what].mean(0), terms[what].std(0) / math.sqrt(_DRAWS)
        off = (value[0] - mean).abs() - 5 * error - 1e-3
        i = int(off.argmax())
        assert off.max() <= 0, (
            f"{what} is {value[0].flatten()[i]:.3f}, but its draws have {mean.flatten()[i]:.3f}"
        )


def _value(formula: Callable[[], Tensor]) -> Tensor | None:
    """Return what a formula gives, or None where there is none or a heavy tail has no moment."""
    try:
        value = formula()
    except (NotImplementedError, AttributeError):
        return None
    return value if torch.isfinite(value).all() else None
