"""Checks of an objective. Shapes: K samples, B batch, L latent size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.draw import Draw, draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.terms import DrawPath, Terms
from vaeflow.testing.probes import close, finite, normal
from vaeflow.testing.registered import MakePart, register

_LATENT = 2


def _standard() -> Distribution:
    zero = torch.zeros(_LATENT, dtype=torch.float64)
    return DiagonalNormal(zero, zero)


def _terms(q: Distribution, samples: int, log_px: Callable[[Tensor], Tensor]) -> Terms:
    """Draw K samples of q (B) and score them against a standard normal prior."""
    torch.manual_seed(3)
    prior, sample = _standard(), draw(q, (samples,))
    path = DrawPath.of(sample.z)
    # As if q were a flow: an objective that forgets log|det| would not see a Gaussian's, 0.
    log_det = 0.7 + sample.z.detach().sum(-1)
    return Terms(
        log_px=log_px(path.z),
        log_pz=prior.log_prob(path.z),
        sample=Draw(sample.z, sample.log_prob + log_det, log_det),
        posterior=q,
        prior=prior,
        path=path,
    )


def _value(objective: Any, terms: Terms) -> Tensor:
    value: Tensor = objective(terms, torch.ones((), dtype=torch.float64))
    return value


def _fitted(h: Tensor) -> DiagonalNormal:
    return DiagonalNormal(h[:, :_LATENT], h[:, _LATENT:])


@register("objective")
def gives_one_number_per_image(part: MakePart) -> None:
    """(B,) from the terms of K = `samples` ≥ 1 draws, differentiable, for batches of 1 and 3."""
    objective = part()
    k = objective.samples
    assert isinstance(k, int), f"samples is {k!r}, not an integer"
    assert k >= 1, f"samples is {k}, not at least 1"
    for batch in (1, 3):
        h = normal(batch, 2 * _LATENT).requires_grad_()
        value = _value(objective, _terms(_fitted(h), k, lambda z: -z.square().sum(-1)))
        assert value.shape == (batch,), f"the objective is {tuple(value.shape)}, not {(batch,)}"
        finite(value, "the objective")
        assert value.requires_grad, "the objective has no gradient"
        (gradient,) = torch.autograd.grad(value.sum(), h, allow_unused=True)
        assert gradient is not None, "the objective does not depend on the posterior"
        finite(gradient, "its gradient")
        assert gradient.any(), "the objective has no gradient in the posterior"


@register("objective")
def treats_images_independently(part: MakePart) -> None:
    """The value of an image depends on its own terms alone."""
    objective = part()
    h = normal(4, 2 * _LATENT)
    terms = _terms(_fitted(h), objective.samples, lambda z: -z.square().sum(-1))
    changed = h.clone()
    changed[2:] += 1.0
    others = _terms(_fitted(changed), objective.samples, lambda z: -z.square().sum(-1))
    close(
        _value(objective, others)[:2], _value(objective, terms)[:2], "beside other images, a value"
    )


@register("objective", core=True)
def is_tight_where_the_posterior_is_exact(part: MakePart) -> None:
    """With q(z|x) = p(z) and log p(x|z) the same for all z, the value at β = 1 is log p(x)."""
    objective = part()
    log_px = torch.tensor([-3.0, 0.0, -100.0], dtype=torch.float64)
    zero = torch.zeros(3, _LATENT, dtype=torch.float64)
    q = DiagonalNormal(zero, zero)
    terms = _terms(q, objective.samples, lambda z: log_px.expand(z.shape[:-1]))
    close(_value(objective, terms), log_px, "the value against log p(x)")


@register("objective", core=True)
def bounds_the_evidence_from_below(part: MakePart) -> None:
    """At β = 1, in a linear Gaussian model with a wrong q, the mean value is at most log p(x)."""
    objective = part()
    n = 4000
    x = torch.tensor([1.0, -0.5], dtype=torch.float64)

    def log_px(z: Tensor) -> Tensor:  # N(x; z, ½)
        return -(x - z).square().sum(-1) - 0.5 * _LATENT * math.log(math.pi)

    # p(x) = N(x; 0, 1 + ½)
    evidence = (-x.square().sum() / 3 - 0.5 * _LATENT * math.log(3 * math.pi)).item()
    for shift, log_variance in ((1.0, -1.0), (-2.0, 0.0), (0.0, 1.0), (0.5, -3.0)):
        loc = torch.full((n, _LATENT), shift, dtype=torch.float64)
        q = DiagonalNormal(loc, torch.full_like(loc, log_variance))
        with torch.no_grad():
            value = _value(objective, _terms(q, objective.samples, log_px))
        mean, error = value.mean().item(), value.std().item() / math.sqrt(n)
        assert mean <= evidence + 5 * error + 1e-9, (
            f"the mean value is {mean:.3f} ± {error:.3f}, above log p(x) = {evidence:.3f}"
        )


@register("objective")
def weight_settles_after_the_warmup(part: MakePart) -> None:
    """β is finite and not negative at every time, and constant from `warmup` on."""
    objective = part()
    warmup = objective.warmup
    assert math.isfinite(warmup), f"warmup is {warmup}, not a number of epochs"
    assert warmup >= 0, f"warmup is {warmup}, not a number of epochs"
    for epoch in (0.0, 0.25 * warmup, 0.5 * warmup, warmup, 1.0, 1e6):
        weight = objective.weight(epoch)
        assert math.isfinite(weight), f"β is {weight} at epoch {epoch:g}"
        assert weight >= 0, f"β is {weight} at epoch {epoch:g}"
    for later in (0.5, 10.0, 1e6):
        seen, wanted = objective.weight(warmup + later), objective.weight(warmup)
        assert seen == wanted, (
            f"β is {seen} {later:g} epochs after the warm-up, {wanted} at its end"
        )
