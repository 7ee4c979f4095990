"""A check that likelihoods and priors keep their law for two options together."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.testing.bridge import bridge
from vaeflow.testing.conditionals import marginals
from vaeflow.testing.draws import follow
from vaeflow.testing.kinds.likelihoods import ROWS, likelihoods, outputs
from vaeflow.testing.kinds.priors import density, prior
from vaeflow.testing.lines import line_of
from vaeflow.testing.masses import factorizes, log_mass
from vaeflow.testing.pairs import for_all_pairs
from vaeflow.testing.registered import MakePart, register

_DRAWS = 2000


@register("likelihood", once=True)
@torch.no_grad()
def keeps_its_law_for_options_together(part: MakePart) -> None:
    """For all pairs of choices and numbers of the options, draws follow a density of mass 1."""
    for_all_pairs("likelihood", part, _two_values)


@register("prior", once=True)
@torch.no_grad()
def keeps_its_density_for_options_together(part: MakePart) -> None:
    """For all pairs of choices and numbers of the options, the plane's draws fit the density."""
    for_all_pairs("prior", part, _plane)


def _two_values(part: MakePart) -> None:
    for module in likelihoods(part, ROWS[1]):
        p: Distribution = module(outputs(module, lead=(1, 1)))
        line = line_of(module.support, module.data_shape)
        draws = p.sample(torch.Size((_DRAWS,))).flatten(1)
        log_prob = partial(_score, p)
        mass = log_mass(log_prob, draws, line)
        assert abs(mass.log) <= 1e-3 + mass.slack, (
            f"p(x|z) of two values adds up to {math.exp(mass.log):.5g}, not 1"
        )
        if factorizes(log_prob, draws, line):
            look, new = draws.chunk(2)  # bins fit the draws that they come from
            follow(new, marginals(log_prob, look, line), line, "the draws")


def _score(p: Distribution, x: Tensor) -> Tensor:
    """Score examples in a row, (n, D) to (n,)."""
    return p.log_prob(x.reshape(-1, 1, 1, *p.event_shape)).flatten()


def _plane(part: MakePart) -> None:
    p = density(prior(part, 2))
    log_mass_, error = bridge(p.log_prob, p.sample(torch.Size((_DRAWS,))))
    assert abs(log_mass_) <= 5 * error + 0.01 or error > 0.1, (
        f"judged by its draws, the density integrates to {math.exp(log_mass_):.3f} in the plane"
    )
