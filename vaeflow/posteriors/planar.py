"""The planar-flow posterior."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.distributions import Distribution

from vaeflow.components import Posterior
from vaeflow.distributions import DiagonalNormal, Flow
from vaeflow.nn import Amortize, FlowParameters, Init, initialize

_NEWTON_STEPS = 50  # a handful do, and log(w·û) more where a map throws z far


class Planar(Posterior):
    r"""A diagonal Gaussian pushed through planar maps, each a bend along one direction.

    .. math::
        f_t(z) = z + \hat u_t \tanh(w_t·z + b_t), \quad
        \hat u = u + (\mathrm{softplus}(w·u) - 1 - w·u)\, w / ‖w‖^2

    Rezende & Mohamed 2015, eqs. 10-12 and appendix A.1: û keeps w·û > −1, so that each map is
    invertible. The inverse is no formula: log q of a z that is not a draw costs a root per map.

    Options:
        steps: number of planar maps.
        amortize: "full" lets the features of each image emit the maps, "none" shares them.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 16,
        amortize: Amortize = "full",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.steps = steps
        self.head = nn.Linear(features, 2 * latent)
        initialize(self.head, init)
        if steps:
            self.flow = FlowParameters(features, steps * (2 * latent + 1), amortize)
            # The identity, in random directions: û = 0 where u = log(e − 1)·w and ‖w‖ = 1, as
            # softplus(log(e − 1)) = 1.
            w = F.normalize(torch.randn(steps, latent), dim=-1)
            u = math.log(math.e - 1) * w
            self.flow.start_at(torch.cat([w.flatten(), u.flatten(), torch.zeros(steps)]))

    def maps(self, h: Tensor) -> PlanarMaps:
        """Return the maps of each image for features h (B, F)."""
        size = self.steps * self.latent
        w, u, b = self.flow(h).split([size, size, self.steps], dim=-1)
        shape = (self.steps, self.latent)
        return PlanarMaps(w.unflatten(-1, shape), u.unflatten(-1, shape), b)

    def forward(self, h: Tensor) -> Distribution:  # noqa: D102
        base = DiagonalNormal(*self.head(h).chunk(2, dim=-1))
        return Flow(base, [self.maps(h)] if self.steps else [])


class PlanarMaps:
    r"""A stack of T planar maps, evaluated through scalars.

    As z_t = z_0 + Σ_{j≤t} û_j tanh(a_j), the pre-activations obey
    a_t = w_t·z_0 + b_t + Σ_{j<t} G_tj tanh(a_j) with the Gram matrix G_tj = w_t·û_j, which all K
    samples share: the recursion over t needs no vector of length L.

    Arguments:
        w: (B, T, L).
        u: (B, T, L), before the constraint.
        b: (B, T).
    """

    def __init__(self, w: Tensor, u: Tensor, b: Tensor) -> None:
        wu = (w * u).sum(-1)
        ww = (w * w).sum(-1)
        # At w = 0 the map is a translation: û = u and the determinant is 1.
        flat = ww == 0
        shift = torch.where(flat, 0.0, (_softplus(wu) - 1 - wu) / torch.where(flat, 1.0, ww))
        self.u_hat = u + shift[..., None] * w
        self.log_slope = torch.where(flat, 0.0, log_softplus(wu))  # log(1 + w·û), (B, T)
        # Autocast would round what makes z, but not what makes its log-determinant.
        with torch.autocast(w.device.type, enabled=False):
            self.gram = w @ self.u_hat.mT  # (B, T, T)
        self.w = w
        self.b = b

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        with torch.autocast(z.device.type, enabled=False):
            start = torch.einsum("...bl,btl->...bt", z, self.w) + self.b
            a: Tensor = _Recursion.apply(start, self.gram)
            z = z + torch.einsum("...bt,btl->...bl", torch.tanh(a), self.u_hat)
        return z, planar_log_det(a, self.log_slope).sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Undo the maps, from the last to the first; log|det| is that of the forward maps.

        With z = z_T, z_t = z_T − Σ_{j>t} û_j tanh(a_j), so that each a_t is the root of
        a_t + G_tt tanh(a_t) = w_t·z_T + b_t − Σ_{j>t} G_tj tanh(a_j).
        """
        with torch.autocast(z.device.type, enabled=False):
            start = torch.einsum("...bl,btl->...bt", z, self.w) + self.b
            a = start.new_empty(*start.shape[:-1], 0)
            for t in reversed(range(start.shape[-1])):
                later = (self.gram[:, t, t + 1 :] * torch.tanh(a)).sum(-1)
                root = planar_root(start[..., t] - later, self.log_slope[:, t])
                a = torch.cat([root[..., None], a], dim=-1)
            z = z - torch.einsum("...bt,btl->...bl", torch.tanh(a), self.u_hat)
        return z, planar_log_det(a, self.log_slope).sum(-1)


class _Recursion(torch.autograd.Function):
    r"""Solve a_t = s_t + Σ_{j<t} G_tj tanh(a_j) for a; s is (*, B, T), G is (B, T, T).

    The derivative is the same recursion backwards,
    λ_t = ∂a_t + sech²(a_t) Σ_{i>t} G_it λ_i, ∂s = λ, ∂G_ij = λ_i tanh(a_j) (i > j): T small steps
    where autograd would record and replay a dozen times as many.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, start: Tensor, gram: Tensor) -> Tensor:
        a = start.movedim(-1, 0).clone(memory_format=torch.contiguous_format)  # (T, *, B)
        tanh = torch.empty_like(a)
        g = _rows(gram, a.dim() - 2)
        for t in range(len(a)):
            if t:
                a[t] += (g[t, :t] * tanh[:t]).sum(0)
            torch.tanh(a[t], out=tanh[t])
        ctx.save_for_backward(tanh, gram)
        return a.movedim(0, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        tanh, gram = ctx.saved_tensors
        adjoint = grad.movedim(-1, 0).clone(memory_format=torch.contiguous_format)
        sech2 = 1 - tanh * tanh
        g = _rows(gram, tanh.dim() - 2)
        for t in reversed(range(len(tanh) - 1)):
            adjoint[t] += sech2[t] * (g[t + 1 :, t] * adjoint[t + 1 :]).sum(0)
        # Sum over the samples, (T, *, B) -> (B, T, T).
        flat = (x.flatten(1, -2) if x.dim() > 2 else x[:, None] for x in (adjoint, tanh))
        d_gram = torch.einsum("isb,jsb->bij", *flat)
        return adjoint.movedim(0, -1), d_gram.tril(-1)


def _rows(gram: Tensor, samples: int) -> Tensor:
    """Bring (B, T, T) to (T, T, 1 …, B), with one 1 for each dimension of samples."""
    g = gram.movedim(0, -1).contiguous()
    return g[(slice(None), slice(None), *[None] * samples)]


def planar_log_det(a: Tensor, log_slope: Tensor) -> Tensor:
    r"""Return log|1 + w·û tanh'(a)| for log_slope = log(1 + w·û), elementwise.

    .. math:: 1 + (w·\hat u)\,\mathrm{sech}^2 a = \tanh^2 a + \mathrm{sech}^2 a\,(1 + w·\hat u)

    A sum of two positive numbers, in logarithms: log|1 + …| loses every digit as w·û → −1.
    """
    magnitude = a.abs()
    log_sech2 = 2 * (math.log(2.0) - magnitude - torch.log1p(torch.exp(-2 * magnitude)))
    # log tanh² is −∞ at 0, where its weight is 0 but its derivative is not: mask it beforehand.
    zero = a == 0
    log_tanh2 = 2 * torch.log(torch.tanh(torch.where(zero, 1.0, magnitude)))
    log_tanh2 = log_tanh2.masked_fill(zero, -torch.inf)
    return torch.logaddexp(log_tanh2, log_sech2 + log_slope)


def planar_root(target: Tensor, log_slope: Tensor) -> Tensor:
    r"""Solve h(a) = a + (w·û) tanh(a) = target for a, with log_slope = log(1 + w·û) = log s.

    h(a) = (a − tanh a) + s·tanh a is odd, increasing, and for a > 0 concave (s > 1) or convex
    (s < 1): Newton's steps from the side where the tangent lies beyond the curve never pass the
    root, and need no bracket. First derivatives in both arguments are exact, by one more step.
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
            moved = a - (a - tanh + s * tanh - goal) / slope
            moved = torch.where(convex, torch.minimum(a, moved), torch.maximum(a, moved))
            if torch.equal(moved, a):  # what moves it back is rounding
                break
            a = moved
        a = a.copysign(target)
    tanh = torch.tanh(a)
    residual = target - (a - tanh) - log_slope.exp() * tanh
    return a + (residual - residual.detach()) / slope


def log_softplus(x: Tensor) -> Tensor:
    """Return log(log(1 + eˣ)) without underflow: it tends to x as x → −∞."""
    far = x < -15  # there log(1 + eˣ) = eˣ(1 − eˣ/2 + …), exact in float64 up to e^(2x)/3
    near = torch.log(_softplus(torch.where(far, 0.0, x)))
    return torch.where(far, x - 0.5 * torch.exp(torch.where(far, x, -15.0)), near)


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + eˣ) to the last digit; torch's own is x from 20 on, off by e⁻²⁰."""
    return F.softplus(x, threshold=40)
