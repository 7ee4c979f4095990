"""The root that undoes a planar map."""

from __future__ import annotations

import torch
from torch import Tensor

_NEWTON_STEPS = 50  # about 5 suffice, and log(w·û) more where a map throws z far


def planar_root(target: Tensor, log_slope: Tensor) -> Tensor:
    r"""Solve h(a) = a + (w·û) tanh(a) = target for a, with log_slope = log(1 + w·û) = log s.

    h(a) = (a − tanh a) + s·tanh a is odd and increasing; for a > 0 it is concave (s > 1) or convex
    (s < 1). Newton's method starts left of the root where h is concave and right of it where h is
    convex: no step passes the root, and no bracket is needed. One more step gives exact first
    derivatives in both arguments.
    """
    with torch.no_grad():
        s, goal = log_slope.exp().expand(target.shape), target.abs()
        tiny = torch.finfo(s.dtype).tiny
        # As s·a ≤ h ≤ a for s ≤ 1, and the reverse for s ≥ 1, the root lies between goal/s and
        # goal; as |tanh| ≤ 1, within |s − 1| of goal.
        chord, shifted = goal / s.clamp_min(tiny), goal + 1 - s
        # For s < 1, h(a) ≥ (1 − s)a³/5 up to a = 1: close where h is flat at 0.
        cube = (5 * goal / (1 - s).clamp_min(tiny)).pow(1 / 3)
        cube = torch.where(cube <= 1, cube, torch.inf)
        below = torch.maximum(chord, shifted)
        above = torch.minimum(torch.minimum(chord, shifted), cube)
        convex = s < 1
        a = torch.where(convex, above, below)
        for _ in range(_NEWTON_STEPS):
            tanh = torch.tanh(a)
            slope = (tanh * tanh + (1 - tanh * tanh) * s).clamp_min(tiny)
            moved = a - (_tanh_gap(a, tanh) + s * tanh - goal) / slope
            moved = torch.where(convex, torch.minimum(a, moved), torch.maximum(a, moved))
            if torch.equal(moved, a):  # only rounding would still move it, and back
                break
            a = moved
        a = a.copysign(target)
    tanh = torch.tanh(a)
    residual = target - a + tanh - log_slope.exp() * tanh
    return a + (residual - residual.detach()) / slope


def _tanh_gap(a: Tensor, tanh: Tensor) -> Tensor:
    """Return a − tanh a for a ≥ 0, also where the two agree in all but their last digits."""
    small = a.clamp(max=1)
    square = small * small
    # tanh a = a/(1 + q), by Lambert's continued fraction q = a²/(3 + a²/(5 + …)) (DLMF 4.39.1)
    q = square / 17
    for odd in (15, 13, 11, 9, 7, 5, 3):
        q = square / (odd + q)
    return torch.where(a < 1, small * q / (1 + q), a - tanh)
