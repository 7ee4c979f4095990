"""The total mass of a density over examples of many values.

Shapes: N draws, D values of an example. Densities are in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaeflow.testing.bridge import bridge
from vaeflow.testing.conditionals import Conditionals, LogProb, conditionals, marginals
from vaeflow.testing.lines import Line, middle_of

_DIGITS = 1e-7  # to which a product of densities is one
# Points of a side of a grid, and its reach in scales of p. One that tells of 1 is right; another
# mass may be that of peaks between the points, unless the last two grids agree.
_GRIDS = ((61, 1e2), (121, 1e4), (242, 1e4), (357, 1e3))
_AGREES = 1e-3
_EXAMPLES = 2**16  # that are added up one by one


class Mass(NamedTuple):
    """The logarithm of ∫ p(x) dx, and how far it may be off where the part is right.

    An average may be off by six standard errors, an integral by what floats cannot resolve.
    """

    log: float
    slack: float = 0.0


@torch.no_grad()
def factorizes(log_prob: LogProb, draws: Tensor, line: Line) -> bool:
    """Tell whether p(x) is a product of functions of one value each.

    Such a p has p(a, b') p(a', b) = p(a, b) p(a', b') for all parts a and b of two examples.

    Arguments:
        log_prob: (n, D) to (n,).
        draws: (N, D).
        line: the support of each value.
    """
    if draws.shape[1] == 1:
        return True
    if line.unbounded:  # a component that is rare is alone far out
        middle = middle_of(draws)
        draws = torch.cat([middle + size * (draws - middle) for size in (1.0, 3.0, 10.0)])
    draws = draws[torch.randperm(len(draws), generator=torch.Generator().manual_seed(2))]
    one, other = draws[: len(draws) // 2], draws[-(len(draws) // 2) :]
    chosen = torch.rand(one.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    mixed = log_prob(torch.where(chosen, one, other)) + log_prob(torch.where(chosen, other, one))
    plain = log_prob(one) + log_prob(other)
    return bool(((mixed - plain).abs() <= _DIGITS * (1 + plain.abs())).all())


@torch.no_grad()
def mass_of_product(log_prob: LogProb, draws: Tensor, law: Conditionals) -> Mass:
    r"""Return the mass of a product of densities, from the laws of its values at the middle draw.

    With c_i(v) the normalized p(v, rest) of value i alone,
    :math:`\log ∫ p = \log p(x) - \sum_i \log c_i(x_i)` at any x.
    """
    middle = middle_of(draws)[None]
    log = law.log_total.sum() - (draws.shape[1] - 1) * log_prob(middle)[0]
    return Mass(log.item(), law.error.sum().item())


@torch.no_grad()
def log_mass(log_prob: LogProb, draws: Tensor, line: Line, *, fine: bool = False) -> Mass:
    """Integrate a density over all values, exactly or from its draws.

    A product of densities is integrated over each value. Another density is added up, where there
    are few examples, or integrated over a grid of the plane; else its draws are needed.

    Arguments:
        log_prob: (n, D) to (n,).
        draws: (N, D), of p.
        line: the support of each value.
        fine: look closely between the draws, for narrow peaks.
    """
    size = draws.shape[1]
    if factorizes(log_prob, draws, line):
        return mass_of_product(log_prob, draws, marginals(log_prob, draws, line, fine=fine))
    if (every := _every_example(line)) is not None:
        return Mass(log_prob(every).logsumexp(0).item())
    if line.unbounded:
        on_plane = _mass_of_plane(log_prob, draws) if size == 2 else None
        return on_plane or _average(*bridge(log_prob, draws))
    return _mass_by_sweeps(log_prob, draws, line)


def _average(log: float, error: float) -> Mass:
    return Mass(log, 6 * error)


def _every_example(line: Line) -> Tensor | None:
    """Return all examples (n, D) of values a step apart, or None if they are too many."""
    if line.step is None or line.high.isinf().any():
        return None
    steps = ((line.high - line.low) / line.step).round() + 1
    if steps.log().sum() > math.log(_EXAMPLES):
        return None
    counts = [torch.arange(n).double() for n in steps.tolist()]
    return torch.cartesian_prod(*counts).reshape(-1, len(counts)) * line.step + line.low


def _mass_of_plane(log_prob: LogProb, draws: Tensor) -> Mass | None:
    """Integrate over a grid of the plane, dense at the draws; return None if that does not do."""
    middle = middle_of(draws)
    covariance = draws.T.cov()
    side = torch.linalg.cholesky(covariance + 1e-12 * covariance.trace() * torch.eye(2).double())
    # Heavy tails stretch a covariance; the middle half of the draws tells where the mass is.
    unit = torch.linalg.solve_triangular(side, (draws - middle).T, upper=False)
    side = side * unit.abs().median(1).values
    before = gap = math.inf
    for points, reach in _GRIDS:
        t = torch.linspace(-math.asinh(reach), math.asinh(reach), points, dtype=torch.float64)
        grid = torch.cartesian_prod(t, t)
        log_volume = grid.cosh().log().sum(1) + side.diagonal().log().sum()
        log_p = [log_prob(z) for z in (middle + grid.sinh() @ side.T).split(20_000)]
        log = (torch.cat(log_p) + log_volume).logsumexp(0).item() + 2 * (t[1] - t[0]).log().item()
        if abs(log) < _AGREES:
            return Mass(log)
        gap, before = abs(log - before), log
    return Mass(log, 2 * gap) if gap < _AGREES else None


def _mass_by_sweeps(log_prob: LogProb, draws: Tensor, line: Line) -> Mass:
    r"""Estimate log ∫ p from one sweep of Gibbs sampling from each of some draws x' to one draw x.

    Its density is :math:`k(x|x') = \prod_i p(x_i | x_1 … x_{i-1}, x'_{i+1} … x'_D)`, whose mean
    over draws x' is p(x)/∫ p (Murray & Salakhutdinov 2008, section 3).
    """
    size = draws.shape[1]
    numbers = torch.arange(size)
    x = draws[log_prob(draws).argsort()[int(0.9 * len(draws))]]
    starts = draws[: max(20, 1500 // size)]
    # The states of each sweep, before its first step and after each: (n, D + 1, D).
    states = torch.where(numbers < torch.arange(size + 1)[:, None], x, starts[:, None])
    before, after = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
    law = conditionals(log_prob, before, numbers.repeat(len(starts)), line, draws, 1e-5)
    log_k = (log_prob(after) - law.log_total).unflatten(0, (-1, size)).sum(1)
    k = (log_k - log_k.max()).exp()
    log = log_prob(x[None])[0] - log_k.max() - k.mean().log()
    error = k.std() / k.mean() / math.sqrt(len(k))
    return _average(log.item(), error.item() + law.error.mean().item())
