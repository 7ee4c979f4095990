"""Monotone rational-quadratic splines."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vaeflow.distributions.numerics import widest


class Piece(NamedTuple):
    """Pieces of splines between knots (x, y) and (x + w, y + h), where the slopes are d0 and d1."""

    x: Tensor
    w: Tensor
    y: Tensor
    h: Tensor
    d0: Tensor
    d1: Tensor


class Spline:
    r"""A monotone rational-quadratic spline of [−c, c] onto itself, the identity outside.

    Between two knots, with ξ = (z − x)/w, s = h/w and the slopes d₀, d₁ at the knots,

    .. math::
        f(z) = y + h \frac{s ξ^2 + d_0 ξ(1-ξ)}{s (ξ^2 + (1-ξ)^2) + (d_0 + d_1) ξ(1-ξ)}

    Durkan et al. 2019, eqs. 4-8, written as sums of positive numbers. θ holds the logits of the
    widths of the bins, the logits of their heights, and the slopes at the inner knots before a
    softplus; the slopes at ±c are 1. θ = 0 is the identity.

    Arguments:
        bins: number of pieces, at least 2.
        bound: c.
    """

    # The smallest slope at a knot, and the smallest bin as a share of 2c/bins. Steeper splines
    # leave gaps in the density, and importance weights explode there.
    least_slope = 1e-3
    least_bin = 0.1

    def __init__(self, bins: int, bound: float = 5.0) -> None:
        self.bins = bins
        self.bound = bound
        self.size = 3 * bins - 1

    def __repr__(self) -> str:
        return f"Spline(bins={self.bins}, bound={self.bound})"

    def __call__(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, L) by θ (*, size, L) to f(z) and log f'(z), both (*, L)."""
        inner = z.clamp(-self.bound, self.bound)
        pieces = self._pieces(theta)
        p = _find(pieces, pieces.x, inner)
        xi = ((inner - p.x) / p.w).clamp(0, 1)
        s, both = p.h / p.w, xi * (1 - xi)
        below = s * (1 - 2 * both) + (p.d0 + p.d1) * both
        y = p.y + p.h * (s * xi.square() + p.d0 * both) / below
        return self._within(z, y, _log_slope(xi, s, p))

    def inverse(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return z0 with f(z0) = z, and log f'(z0), both (*, L).

        With η = (z − y)/h and m = d₀(1 − η) − d₁η, ξ = 2sη/(2sη + m + r) for
        r² = m² + 4s²η(1 − η): the root of Durkan et al. 2019, eq. 29. No rounding makes this r²
        negative. Where f is flat its inverse magnifies the rounding of the knots: they are found in
        float64.
        """
        y, log_slope = self._undo(widest(z), widest(theta))
        return y.to(z.dtype), log_slope.to(z.dtype)

    def _undo(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        inner = z.clamp(-self.bound, self.bound)
        pieces = self._pieces(theta)
        p = _find(pieces, pieces.y, inner)
        eta = ((inner - p.y) / p.h).clamp(0, 1)
        s = p.h / p.w
        m = p.d0 * (1 - eta) - p.d1 * eta
        up, down = 2 * s * eta, 2 * s * (1 - eta)
        r = torch.sqrt(m.square() + up * down)
        # Of two forms of the root, as (r + m)(r − m) = up·down, the one that subtracts nothing.
        xi = torch.where(m >= 0, up / (up + m + r), (r - m) / (down + r - m))
        return self._within(z, p.x + p.w * xi, _log_slope(xi, s, p))

    def _pieces(self, theta: Tensor) -> Piece:
        """Return the knots of all pieces, (*, bins, L) each, in ascending order."""
        widths, heights, slopes = theta.split([self.bins, self.bins, self.bins - 1], dim=-2)
        w, h = self._sizes(widths), self._sizes(heights)
        # softplus(log(e^y − 1)) = y
        start = math.log(math.expm1(1 - self.least_slope))
        d = self.least_slope + F.softplus(slopes + start)
        d = F.pad(d, (0, 0, 1, 1), value=1.0)
        return Piece(self._ends(w), w, self._ends(h), h, d[..., :-1, :], d[..., 1:, :])

    def _sizes(self, logits: Tensor) -> Tensor:
        shares = (1 - self.least_bin) * logits.softmax(-2) + self.least_bin / self.bins
        return 2 * self.bound * shares

    def _ends(self, sizes: Tensor) -> Tensor:
        """Return the lower ends of bins of the given sizes."""
        return F.pad(sizes[..., :-1, :].cumsum(-2), (0, 0, 1, 0)) - self.bound

    def _within(self, z: Tensor, moved: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        inside = z.abs() < self.bound
        return torch.where(inside, moved, z), torch.where(inside, log_slope, 0.0)


def _find(pieces: Piece, ends: Tensor, z: Tensor) -> Piece:
    """Return the piece, (*, L) each, in which z (*, L) lies by the lower `ends`."""
    bin_ = (z[..., None, :] >= ends[..., 1:, :]).sum(-2, keepdim=True)
    return Piece(*(each.gather(-2, bin_).squeeze(-2) for each in pieces))


def _log_slope(xi: Tensor, s: Tensor, p: Piece) -> Tensor:
    """Return log f' (Durkan et al. 2019, eq. 5)."""
    both = xi * (1 - xi)
    above = p.d1 * xi.square() + 2 * s * both + p.d0 * (1 - xi).square()
    below = s * (1 - 2 * both) + (p.d0 + p.d1) * both
    return 2 * s.log() + above.log() - 2 * below.log()
