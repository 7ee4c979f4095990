"""What a density is as a function of one value of an example, the others held.

Shapes: N draws, D values of an example, C values that are looked at, one at a time; A atoms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaeflow.testing.lines import Bins, Line, bins_between, middle_of, repeated
from vaeflow.testing.quadrature import Along, Integrals, integrals

LogProb = Callable[[Tensor], Tensor]  # (n, D) to (n,)

_AT_ONCE = 2**21  # values that are scored at once
_MANY = 4096  # values of an unbounded count that are added up at most
_NOTHING = 40.0  # nats below the peak
_BESIDE = (1e-8, 1e-6)  # of a point, where a density shows its limit there
_JUMP, _SETTLED = 1e-6, 1e-3  # nats


@dataclass(frozen=True)
class Conditionals:
    """What p(v, rest) is as a function of v alone, for each of C values v.

    Attributes:
        log_total: (C,), log ∫ p(v, rest) dv.
        mean: (C,), of v given the rest; no number where it has none.
        shares: (C, bins), the probability of each bin given the rest.
        bins: of v.
        error: (C,), what may be wrong in the total, relatively.
        mean_error: (C,), what may be wrong in the mean.
    """

    log_total: Tensor
    mean: Tensor
    shares: Tensor
    bins: Bins
    error: Tensor
    mean_error: Tensor


@torch.no_grad()
def conditionals(
    log_prob: LogProb,
    base: Tensor,
    values: Tensor,
    line: Line,
    draws: Tensor,
    tolerance: float = 1e-8,
    *,
    fine: bool = False,
) -> Conditionals:
    """Integrate a density over single values.

    Arguments:
        log_prob: the logarithm of the density, (n, D) to (n,).
        base: (C, D), the examples in which one value at a time is varied.
        values: (C,), the number of the value that is varied in each.
        line: the support of each of the D values.
        draws: (N, D): they tell where to look.
        tolerance: the relative error of an integral.
        fine: look more closely between the draws, for narrow peaks.
    """

    def along(owner: Tensor, v: Tensor) -> Tensor:
        size = max(1, _AT_ONCE // base.shape[1])
        parts = []
        for who, some in zip(owner.split(size), v.split(size), strict=True):
            points = base[who].scatter_(1, values[who, None], some[:, None])
            parts.append(log_prob(points))
        return torch.cat(parts)

    columns = draws.T.contiguous()
    none = columns[:, :0]
    if line.step is not None:
        bins = bins_between(columns, line, none, fine=fine).of_values(values)
        return _sums(along, bins, line.of_values(values), line.step, draws.max().item())
    atoms = _atoms(along, values, line, repeated(columns))
    bins = bins_between(columns, line, atoms, fine=fine).of_values(values)
    return _with_atoms(along, bins, integrals(along, bins.edges, line.of_values(values), tolerance))


def marginals(log_prob: LogProb, draws: Tensor, line: Line, *, fine: bool = False) -> Conditionals:
    """Return the law of each of the D values of a density that is a product of D densities."""
    size = draws.shape[1]
    middle = middle_of(draws).expand(size, -1)
    return conditionals(log_prob, middle, torch.arange(size), line, draws, fine=fine)


def _sums(along: Along, bins: Bins, line: Line, step: float, most: float) -> Conditionals:
    """Add up a probability over values a step apart; an unbounded count until nothing is left."""
    count, low, high = len(line.low), line.low.min().item(), line.high.max().item()
    steps = int((most - low) / step) + 32
    while True:
        steps = round((high - low) / step) + 1 if math.isfinite(high) else 2 * steps
        v = low + step * torch.arange(steps, dtype=torch.float64)
        log_p = along(torch.arange(count).repeat_interleave(steps), v.repeat(count))
        log_p = log_p.reshape(count, steps)
        peak = log_p.amax(1, keepdim=True)
        ended = math.isfinite(high) or bool((log_p[:, -1:] < peak - _NOTHING).all())
        if ended or steps >= _MANY:
            break
    p = (log_p - peak).exp()
    total = p.sum(1)
    v = v.expand(count, -1)
    shares = p.new_zeros(count, bins.count).scatter_add_(1, bins.of(v), p) / total[:, None]
    error = 0 * total if ended else steps * p[:, -1] / total
    mean = (p * v).sum(1) / total
    return Conditionals(total.log() + peak[:, 0], mean, shares, bins, error, steps * error)


def _with_atoms(along: Along, bins: Bins, found: Integrals) -> Conditionals:
    """Put the integrals of a density and the probabilities of its atoms together."""
    owner = torch.arange(len(bins.edges))
    atoms = bins.atoms.nan_to_num()
    log_p = [along(owner, atom) - found.log_unit for atom in atoms.unbind(1)]
    p = torch.stack([found.mass.sum(1), *(each.exp() for each in log_p)], 1)[:, 1:]
    p = p.where(~bins.atoms.isnan(), 0.0)
    mass = torch.cat([found.mass, p], 1)
    total = mass.sum(1)
    return Conditionals(
        log_total=total.log() + found.log_unit,
        mean=(found.moment + (p * atoms).sum(1)) / total,
        shares=mass / total[:, None],
        bins=bins,
        error=found.error / total,
        mean_error=found.moment_error / total,
    )


def _atoms(along: Along, values: Tensor, line: Line, often: Tensor) -> Tensor:
    """Return what each of the D values takes with positive probability, (D, A), or NaN.

    It is told by the draws that repeat it, or is a bound at which a density that has a limit there
    is suddenly another.

    Arguments:
        along: log p(v, rest), of the bases.
        values: (C,), the number of the value that each base varies.
        line: the supports of the D values.
        often: numbers that many draws share.
    """
    once, place = values.unique(return_inverse=True)
    owner = torch.empty_like(once).scatter_(0, place, torch.arange(len(values)))
    line_ = line.of_values(once)
    candidates = [(v.expand(once.shape), True) for v in often]
    candidates += [(line_.low, False), (line_.high, False)]
    atoms = torch.full((len(line.low), len(candidates)), math.nan, dtype=torch.float64)
    for a, (v, seen) in enumerate(candidates):
        there = v.isfinite()
        v = v.where(there, 0.0)
        inside = torch.where(v >= line_.high, -1.0, 1.0) * v.abs().clamp(min=1.0)
        at, nearer, near = (along(owner, v + gap * inside) for gap in (0.0, *_BESIDE))
        jumps = there & at.isfinite() & ~((at - nearer).abs() <= _JUMP)
        settled = (near - nearer).abs() < _SETTLED
        told = (atoms[once] == v[:, None]).any(1)
        atoms[once, a] = v.where(jumps & (settled | seen) & ~told, math.nan)
    return atoms[:, ~atoms.isnan().all(0)]
