"""The values that one value of an example may take, and bins that divide them.

Shapes: C values that are looked at, N draws of each, J edges, A atoms, D values of an example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.testing.registered import NotApplicable

# Shares of the draws below the edges of the bins. The outer bins hold the tails.
_EDGES = (0.002, 0.02, 0.07, 0.17, 0.32, 0.5, 0.68, 0.83, 0.93, 0.98, 0.998)
_FINE = 512  # bins, where narrow peaks are looked for
_APART = 1e-6  # from a bound other than 0, relatively: closer, floats are too coarse
_TINY = 1e-100  # from a bound at 0


@dataclass(frozen=True)
class Line:
    """The numbers between two bounds that each of C values may take.

    Attributes:
        low: (C,), −∞ where there is no bound.
        high: (C,), ∞ where there is no bound.
        step: between neighbours, or None where the numbers are continuous.
    """

    low: Tensor
    high: Tensor
    step: float | None

    def of_values(self, values: Tensor) -> Line:
        """Return the lines of some of the values, by their numbers (n,)."""
        return Line(self.low[values], self.high[values], self.step)

    @property
    def unbounded(self) -> bool:
        """Tell whether every value is any real number."""
        return self.step is None and bool((self.low.isinf() & self.high.isinf()).all())


def bounds_of(support: Any) -> tuple[Any, Any]:
    """Return the bounds of a support, −∞ and ∞ where there are none."""
    while hasattr(support, "base_constraint"):  # of an independent or a mixture
        support = support.base_constraint
    if support is constraints.boolean:
        return 0.0, 1.0
    low, high = (getattr(support, f"{side}_bound", None) for side in ("lower", "upper"))
    return -math.inf if low is None else low, math.inf if high is None else high


def line_of(support: Any, data_shape: Sequence[int]) -> Line:
    """Return the support of each of the D values of an example.

    Raises:
        NotApplicable: if it is none that bounds each value by itself, such as a simplex.
    """
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    low, high = bounds_of(support)
    bounded = any(hasattr(support, f"{side}_bound") for side in ("lower", "upper"))
    known = bounded or support in (constraints.real, constraints.boolean)
    if not known or support.event_dim or (support.is_discrete and low == -math.inf):
        raise NotApplicable(f"no grid is known that covers {support}")

    def bound(value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).expand(*data_shape).flatten()

    step = float(getattr(support, "step", 1)) if support.is_discrete else None
    return Line(bound(low), bound(high), step)


@dataclass(frozen=True)
class Bins:
    """Bins of C values: below the first edge, between neighbouring edges, above the last edge.

    Attributes:
        edges: (C, J), rising.
        atoms: (C, A), values of positive probability in a continuous support, each a bin of its
            own, such as the zeros of a zero-inflated density; NaN where there is none.
    """

    edges: Tensor
    atoms: Tensor

    @property
    def count(self) -> int:
        """Return J + 1 + A."""
        return self.edges.shape[1] + 1 + self.atoms.shape[1]

    def of_values(self, values: Tensor) -> Bins:
        """Return the bins of some of the values, by their numbers (n,)."""
        return Bins(self.edges[values], self.atoms[values])

    def of(self, x: Tensor) -> Tensor:
        """Return the number of the bin of each value x, (C, N)."""
        index = torch.searchsorted(self.edges, x.contiguous())
        for a, atom in enumerate(self.atoms.unbind(1)):
            index = torch.where(x == atom[:, None], self.edges.shape[1] + 1 + a, index)
        return index


def middle_of(draws: Tensor) -> Tensor:
    """Return the median of each column of draws (N, D)."""
    return draws.contiguous().median(0).values  # of an expanded tensor, torch's is another number


def bins_between(x: Tensor, line: Line, atoms: Tensor, *, fine: bool = False) -> Bins:
    """Return bins whose edges are quantiles of draws x (C, N) other than the atoms (C, A)."""
    places = torch.arange(1, _FINE) / _FINE if fine else torch.tensor(_EDGES)
    places = places.to(x)
    if line.step is not None:
        edges = x.quantile(places, dim=1, interpolation="nearest").T
        return Bins((edges + 0.5 * line.step).contiguous(), atoms)
    for atom in atoms.unbind(1):
        x = torch.where(x == atom[:, None], math.nan, x)
    edges = x.nanquantile(places, dim=1).T.nan_to_num(nan=0.5)
    low, high = (
        (b + side * (_APART * b.abs()).clamp(min=_TINY)).where(b.isfinite(), b)[:, None]
        for b, side in ((line.low, 1), (line.high, -1))
    )
    return Bins(edges.clamp(low, high).contiguous(), atoms)


def repeated(x: Tensor) -> Tensor:
    """Return the values (A,) that recur among the draws of any value, (C, N).

    Where a continuous density piles up at a bound, floats round some draws to it. Such a value has
    others beside it, and is not told.
    """
    ordered = x.sort(1).values
    again = ordered[:, 2:][ordered[:, 2:] == ordered[:, :-2]].unique()
    beside = ((x[..., None] - again).abs() <= _APART * again.abs()) & (x[..., None] != again)
    equal = x[..., None] == again
    alone: Tensor = 4 * beside.sum((0, 1)) < equal.sum((0, 1))
    found: Tensor = again[alone][:4]
    return found
