"""Checks of what a posterior's distribution offers beside its one-pass draw."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaeflow.distributions.draw import draw, grad_log_prob
from vaeflow.distributions.flow import Flow, StandardizedFlow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.testing.kinds.posteriors import (
    features,
    log_abs_det,
    posterior,
    tolerance,
    with_jacobian,
    within,
)
from vaeflow.testing.noise import GivenNoise, given, noise_law
from vaeflow.testing.probes import close, normal
from vaeflow.testing.registered import MakePart, NotApplicable, register

_DRAWS = 20_000


@register("posterior")
@torch.no_grad()
def scores_its_draws_from_outside(part: MakePart) -> None:
    """Where q.log_prob(z) exists, it is the density that came with the draw z, far out too."""
    for latent, far in ((3, 1.0), (3, 4.0), (3, 8.0), (1, 1.0), (20, 2.0)):
        module, h = posterior(part, latent, scale=0.5), features(3)
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
    """∂ log q(z)/∂z at a draw, from which stl, dreg and diagnose work, is J⁻ᵀ ∂ log q/∂ε."""
    for latent, far in ((1, 1.0), (3, 1.0), (3, 4.0), (12, 1.0)):
        module, h = posterior(part, latent, scale=0.5), features(4)
        if noise_law(module(h)) != math.inf:
            raise NotApplicable("its noise is not one normal for each dimension")
        eps = (far * normal(4, latent)).requires_grad_()
        q = module(h)
        with GivenNoise(eps):
            sample = draw(q)
        (along,) = torch.autograd.grad(sample.log_prob.sum(), eps, retain_graph=True)
        _, jacobian = with_jacobian(module, h, eps)
        _, trusted = log_abs_det(jacobian)
        wanted = torch.linalg.solve_ex(jacobian.mT, along[..., None])[0].squeeze(-1)
        try:
            seen = grad_log_prob(q, sample)
        except (NotImplementedError, KeyError):
            raise NotApplicable("it scores its own draws alone") from None
        close(seen[trusted], wanted[trusted], "∂ log q(z)/∂z", max(1e-6, 10 * tolerance(module)))


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
