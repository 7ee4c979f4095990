"""Integrals over bins of a line, by adaptive quadrature.

Shapes: C lines, J edges of bins on each; n panels, m nodes on each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaeflow.testing.lines import Line

Along = Callable[[Tensor, Tensor], Tensor]  # the numbers (n,) of lines, places (n,), to log f (n,)

_NODES = 8
_ROUNDS = 45
_PANELS = 20_000  # that are halved in one round at most
_CUTS = (0.0, 0.01, 0.03, 0.08, 0.2, 0.45, 1.0)  # of an outer bin into panels
# Beyond e^60 scales from the edges, or e^60 times as near to a bound, f is taken for a power law.
_FAR = 60.0
_RESOLVED = 1e-9  # from a bound, relatively: closer, floats are too coarse
_TRUSTED = 1e-6  # from a bound, of the length of a line: parts may round what is closer
_TINY = 1e-200
_NO_MEAN = 1.001  # the exponent of a tail, below which v has no mean
_DECADE = (
    10.0  # in a bin whose edges differ so much in their distance to a bound, it is logarithmic
)


class Integrals(NamedTuple):
    """Integrals of f, in units of e^log_unit.

    Attributes:
        log_unit: (C,).
        mass: (C, J + 1), ∫ f over each bin.
        moment: (C,), ∫ v f over the line.
        error: (C,), of the mass of the line.
        moment_error: (C,).
    """

    log_unit: Tensor
    mass: Tensor
    moment: Tensor
    error: Tensor
    moment_error: Tensor


def integrals(along: Along, edges: Tensor, line: Line, tolerance: float) -> Integrals:
    """Integrate f over the bins between edges (C, J) and beyond the first and the last.

    Gauss–Lobatto rules on panels, which are halved until they agree with their halves.

    Arguments:
        along: log f.
        edges: dense where f is large.
        line: the bounds of each line.
        tolerance: the relative error of an integral.
    """
    return _Quadrature(along, edges, line).integrals(tolerance)


class _Panels(NamedTuple):
    """Intervals of t, each in a bin of one of the lines: four tensors (n,)."""

    owner: Tensor
    cell: Tensor
    left: Tensor
    right: Tensor

    def halved(self) -> _Panels:
        """Return all left halves, then all right halves."""
        middle = (self.left + self.right) / 2
        return _Panels(
            self.owner.repeat(2),
            self.cell.repeat(2),
            torch.cat([self.left, middle]),
            torch.cat([middle, self.right]),
        )

    def chosen(self, which: Tensor) -> _Panels:
        return _Panels(*(x[which] for x in self))


class _Quadrature:
    r"""The state of a quadrature.

    A bin between two edges is v = a + b·t, or a + b·e^t where it spans decades of the distance to a
    bound. An outer bin is v = a + b·e^t where it has no bound, and v = a + b·e^−t where it has one,
    up to a far t. Beyond it f is continued by the power law of its last nodes, so that the mass at
    a singular bound is counted.
    """

    def __init__(self, along: Along, edges: Tensor, line: Line) -> None:
        self.along = along
        self.line = line
        spread = (edges[:, -1] - edges[:, 0]) / 4
        self.scale = torch.where(spread > 0, spread, 1e-9 * (1 + edges[:, 0].abs()))
        self.middle = edges[:, edges.shape[1] // 2]
        # v = origin + width·(t, e^t or e^−t), t from 0 to far: (C, J + 1).
        self.origin, self.width, self.power, self.far = (
            torch.cat([a[:, None], b, c[:, None]], 1)
            for a, b, c in zip(
                _end(line.low, edges[:, 0], -self.scale),
                _between(line, edges),
                _end(line.high, edges[:, -1], self.scale),
                strict=True,
            )
        )
        self.nodes, self.weights = _lobatto(_NODES)
        self.peak = torch.full_like(self.scale, -math.inf)

    def integrals(self, tolerance: float) -> Integrals:
        """Integrate over all bins."""
        panels = self._panels()
        whole = self._rule(panels)
        done = whole.new_zeros(*self.origin.shape, 2)
        error, slack = whole.new_zeros(2, len(self.scale))
        for last in [False] * _ROUNDS + [True]:
            halves = panels.halved()
            parts = self._rule(halves)
            both = parts[: len(whole)] + parts[len(whole) :]
            total = done[..., 0].sum(1).index_add(0, panels.owner, both[:, 0])
            gap = (both - whole).abs()
            open_ = ~(gap[:, 0] <= tolerance * total[panels.owner])
            if last or open_.sum() > _PANELS:
                error.index_add_(0, panels.owner[open_], gap[open_, 0])
                open_ = torch.zeros_like(open_)
            done.index_put_((panels.owner[~open_], panels.cell[~open_]), both[~open_], True)
            slack.index_add_(0, panels.owner[~open_], gap[~open_, 1])
            if not open_.any():
                break
            panels, whole = halves.chosen(open_.repeat(2)), parts[open_.repeat(2)]
        error += self._add_tails(done)
        mass, away = done.unbind(-1)
        moment = self.middle * mass.sum(1) + self.scale * away.sum(1)
        return Integrals(self.peak, mass, moment, error, self.scale * (slack + error))

    def _panels(self) -> _Panels:
        """Return a panel for each inner bin, several for the outer ones."""
        count, cells = self.origin.shape
        owner, cell = torch.arange(count), torch.arange(1, cells - 1)
        ends = self.far[:, 1:-1].flatten()
        panels = [
            _Panels(
                owner.repeat_interleave(len(cell)), cell.repeat(count), torch.zeros_like(ends), ends
            )
        ]
        for end in (0, cells - 1):
            far = self.far[:, end]
            for a, b in itertools.pairwise(_CUTS):
                panels.append(_Panels(owner, torch.full_like(owner, end), a * far, b * far))
        return _Panels(*map(torch.cat, zip(*panels, strict=True)))

    def _rule(self, panels: _Panels) -> Tensor:
        """Return the integral of f and of f·(v − middle)/scale over each panel, (n, 2)."""
        width = panels.right - panels.left
        t = panels.left[:, None] + width[:, None] * self.nodes
        log_f, v = self._log_f(panels.owner, panels.cell, t)
        highest = torch.full_like(self.peak, -math.inf).scatter_reduce_(
            0, panels.owner, log_f.amax(1), "amax"
        )
        self.peak = torch.where(self.peak.isinf(), highest, self.peak)
        f = (log_f - self.peak[panels.owner, None]).exp() * (self.weights * width[:, None])
        away = (v - self.middle[panels.owner, None]) / self.scale[panels.owner, None]
        return torch.stack([f.sum(1), (f * away).sum(1)], 1)

    def _log_f(self, owner: Tensor, cell: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return log f(v(t)) |dv/dt|, (n, m), and v."""
        origin, width, power = (
            x[owner, cell][:, None] for x in (self.origin, self.width, self.power)
        )
        v = origin + width * torch.where(power == 0, t, (power * t).exp())
        log_f = self.along(owner.repeat_interleave(t.shape[1]), v.flatten()).view_as(v)
        return log_f + width.abs().log() + power * t, v

    def _tail(self, end: int, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ∫ e^(−αt) from start (C,) on in an outer bin, α and v there, from two nodes."""
        owner = torch.arange(len(start))
        places = torch.stack([start - 1, start], 1)
        log_f, v = self._log_f(owner, torch.full_like(owner, end), places)
        slope = log_f[:, 0] - log_f[:, 1]
        mass = (log_f[:, 1] - self.peak).exp() / slope.clamp(min=0.0)
        return mass, slope, v[:, 1]

    def _add_tails(self, done: Tensor) -> Tensor:
        """Add what is beyond the far ends; return how much of the mass a part may round away.

        Parts may clip values near the bounds of an interval, which matters where f is singular.
        """
        doubt = torch.zeros_like(self.scale)
        length = self.line.high - self.line.low
        for end in (0, self.origin.shape[1] - 1):
            mass, slope, v = self._tail(end, self.far[:, end])
            grows = self.power[:, end] > 0  # v grows as e^t
            times = torch.where(grows, slope / (slope - 1), 1.0)
            times = torch.where(grows & (slope < _NO_MEAN), math.nan, times)
            away = mass * times * (v - self.middle) / self.scale
            done[:, end, 0] += mass.where(mass > 0, 0.0)
            done[:, end, 1] += away.where(mass > 0, 0.0)
            near = (self.width[:, end].abs() / (_TRUSTED * length)).log()
            start = near.clamp(min=1.0).minimum(self.far[:, end])
            clipped, slope, _ = self._tail(end, start)
            clipped = clipped * (slope * (start - near)).exp()
            doubt += clipped.where(length.isfinite() & (slope > 0) & (slope < 0.9), 0.0)
        return doubt


def _between(line: Line, edges: Tensor) -> tuple[Tensor, ...]:
    """Return a, b, the sign of t and the last t of the inner bins, (C, J − 1)."""
    left, right = edges[:, :-1], edges[:, 1:]
    low, high = line.low[:, None], line.high[:, None]
    parts = [left, right - left, torch.zeros_like(left), torch.ones_like(left)]
    for bound, start, ratio in (
        (low, left, (right - low) / (left - low)),
        (high, right, (high - left) / (high - right)),
    ):
        near = bound.isfinite() & (ratio > _DECADE)
        mapped = (bound, start - bound, torch.ones_like(start), ratio.log())
        parts = [torch.where(near, new, old) for new, old in zip(mapped, parts, strict=True)]
    return tuple(parts)


def _end(bound: Tensor, edge: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    """Return a, b, the sign of t and the last t of an outer bin."""
    free = bound.isinf()
    gap = (edge - bound).abs()
    resolved = (gap / (_RESOLVED * bound.abs()).clamp(min=_TINY)).log()
    return (
        torch.where(free, edge - scale, bound),
        torch.where(free, scale, edge - bound),
        torch.where(free, 1.0, -1.0).to(edge),
        torch.where(free, _FAR, resolved.clamp(max=_FAR)).to(edge),
    )


def _lobatto(n: int) -> tuple[Tensor, Tensor]:
    """Return nodes on [0, 1], ends included, and weights that integrate degree 2n − 3 exactly."""
    p = np.polynomial.legendre.Legendre.basis(n - 1)
    x = np.concatenate([[-1.0], np.sort(p.deriv().roots().real), [1.0]])
    weights = 2 / (n * (n - 1) * p(x) ** 2)
    return torch.from_numpy(x + 1) / 2, torch.from_numpy(weights) / 2
