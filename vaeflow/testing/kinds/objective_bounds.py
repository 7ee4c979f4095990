"""Checks that an objective is a lower bound. Shapes: K samples, B batch, L latent size."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaeflow.testing.kinds.objective_terms import (
    gaussian,
    made_terms,
    objectives,
    some_terms,
    value_of,
)
from vaeflow.testing.probes import normal
from vaeflow.testing.registered import MakePart, register


@register("objective", core=True)
def bounds_the_evidence_from_below(part: MakePart) -> None:
    """At β = 1, in a linear Gaussian model with a wrong q, the mean value is at most log p(x)."""
    for objective in objectives(part, 50):
        bounded(objective)


def bounded(objective: Any) -> None:
    """Raise AssertionError where the mean value at a wrong q is above log p(x)."""
    latent = 2
    x = torch.tensor([1.0, -0.5], dtype=torch.float64)

    def log_px(z: Tensor, kl: Tensor) -> Tensor:  # N(x; z, ½)
        return -(x - z).square().sum(-1) - 0.5 * latent * math.log(math.pi)

    # p(x) = N(x; 0, 1 + ½), p(z|x) = N(2x/3, 1/3)
    evidence = (-x.square().sum() / 3 - 0.5 * latent * math.log(3 * math.pi)).item()
    exact = 2 * x / 3, -math.log(3.0)
    far = [(torch.full_like(x, m), v) for m, v in ((1.0, -1.0), (-2.0, 0.0), (0.0, 1.0))]
    near = [(exact[0] + 0.2, exact[1]), (exact[0], exact[1] + 0.4), (exact[0], -3.0), exact]
    n = 4000 if objective.samples < 10 else 1000
    for loc, log_variance in (*far, *near):
        mean = loc.expand(n, latent)
        q = gaussian(mean, torch.full_like(mean, log_variance))
        with torch.no_grad():
            value = value_of(objective, made_terms(q, objective.samples, log_px))
        seen, error = value.mean().item(), value.std().item() / math.sqrt(n)
        assert seen <= evidence + 5 * error + 1e-9, (
            f"the mean value is {seen:.3f} ± {error:.3f}, above log p(x) = {evidence:.3f}, at "
            f"q = N(({loc[0]:.2f}, {loc[1]:.2f}), {math.exp(log_variance):.2f} I)"
        )


@register("objective")
def is_at_most_the_log_mean_weight(part: MakePart) -> None:
    """At β = 1, the mean value is at most the log-mean-exp of its K weights, however they spread.

    The mean of the logarithms, Rényi's bounds of α ≥ 0 and means over groups of draws are below it.
    An unbiased estimate of log p(x), or one of less bias, may be above it and sets an exemption.
    """
    for objective in objectives(part, 2, 50):
        below_the_log_mean(objective)


def below_the_log_mean(objective: Any) -> None:
    """Raise AssertionError where the mean value is above the log-mean-exp of the weights."""
    k, rows = objective.samples, 400
    for step in (0.0, 0.3, 3.0, 10.0, 1000.0):
        log_w = -step * torch.arange(k, dtype=torch.float64)[:, None]
        most = (torch.logsumexp(log_w, 0) - math.log(k)).item()
        with torch.no_grad():
            # Equal for every image: only a KL in closed form makes the values differ.
            terms = some_terms(normal(1, 4).expand(rows, 4), k, log_px=lambda z, kl: kl + log_w)  # noqa: B023
            value = value_of(objective, terms)
        seen, error = value.mean().item(), 6 * value.std().item() / math.sqrt(rows)
        size = terms.log_px.abs().max().item()
        assert seen <= most + error + 1e-12 * (1 + size), (
            f"the value is {seen:.8g}, above the log-mean-exp {most:.8g} of {k} log-weights "
            f"0, −{step:g}, −{2 * step:g}, …"
        )
