"""Checks of what a posterior's distribution offers beside its one-pass draw."""

from __future__ import annotations

import math

import torch
from torch.distributions import kl_divergence

from vaeflow.distributions.draw import draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.testing.kinds.posteriors import features, posterior, tolerance
from vaeflow.testing.probes import GivenNoise, close, given, normal
from vaeflow.testing.registered import MakePart, NotApplicable, register


@register("posterior")
@torch.no_grad()
def scores_its_draws_from_outside(part: MakePart) -> None:
    """Where q.log_prob(z) exists, it is the density that came with the draw z."""
    module, h, eps = posterior(part, 3, scale=0.5), features(3), normal(2, 3, 3)
    q = module(h)
    sample = given(q, eps)
    try:
        seen = module(h).log_prob(sample.z)
    except (NotImplementedError, KeyError):  # Pyro's planar-like transforms raise the latter
        raise NotApplicable("it scores its own draws alone") from None
    # An inverse may be found by bisection.
    close(seen, sample.log_prob, "q.log_prob of a draw", max(1e-4, tolerance(module)))


@register("posterior")
@torch.no_grad()
def rsample_gives_its_draws(part: MakePart) -> None:
    """q.rsample, from which pictures are made, gives the same z as the draw with the same noise."""
    module, h, eps = posterior(part, 3), features(3), normal(2, 3, 3)
    wanted = given(module(h), eps).z
    with GivenNoise(eps):
        seen = module(h).rsample((2,))
    close(seen, wanted, "rsample", tolerance(module))


@register("posterior")
@torch.no_grad()
def closed_form_kl_is_its_own(part: MakePart) -> None:
    """Where torch knows KL(q‖p) for a Gaussian p, it is the mean of log q − log p."""
    q = posterior(part, 2, scale=0.5)(features(1))
    zero = torch.zeros(2, dtype=torch.float64)
    p = DiagonalNormal(zero, zero + 1)
    try:
        kl = kl_divergence(q, p).item()
    except NotImplementedError:
        raise NotApplicable("torch knows no closed form of its KL") from None
    torch.manual_seed(3)
    sample = draw(q, (20_000,))
    terms = sample.log_prob - p.log_prob(sample.z)
    mean, error = terms.mean().item(), terms.std().item() / math.sqrt(len(terms))
    assert abs(kl - mean) < 5 * error + 1e-9, f"KL is {kl:.3f}, but its draws have {mean:.3f}"
