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
from vaeflow.distributions import DiagonalNormal, Flow, at_least_float32
from vaeflow.nn import Init, initialize


class Planar(Posterior):
    r"""A diagonal Gaussian pushed through planar maps whose parameters the encoder emits.

    .. math::
        f_t(z) = z + \hat u_t \tanh(w_t·z + b_t), \quad
        \hat u = u + (\mathrm{softplus}(w·u) - 1 - w·u)\, w / ‖w‖^2

    Rezende & Mohamed 2015, eqs. 10-12 and appendix A.1: û keeps w·û > −1, so that each map is
    invertible. There is no closed inverse; q(z|x) is known for its own draws.

    Options:
        steps: number of planar maps.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self, latent: int, features: int, *, steps: NonNegativeInt = 16, init: Init = "torch"
    ) -> None:
        super().__init__(latent, features)
        self.steps = steps
        self.head = nn.Linear(features, 2 * latent)
        initialize(self.head, init)
        if steps:
            self.flow = nn.Linear(features, steps * (2 * latent + 1))
            self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Start at the identity, the same for every image: random directions w, and û = 0.

        û is 0 where u = log(e − 1)·w and ‖w‖ = 1, as softplus(log(e − 1)) = 1.
        """
        self.flow.weight.zero_()
        w, u, b = self._split(self.flow.bias)
        w.copy_(F.normalize(torch.randn_like(w), dim=-1))
        u.copy_(math.log(math.e - 1) * w)
        b.zero_()

    def _split(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split (*, T(2L + 1)) into w (*, T, L), u (*, T, L) and b (*, T)."""
        sizes = [self.steps * self.latent, self.steps * self.latent, self.steps]
        w, u, b = flat.split(sizes, dim=-1)
        shape = (self.steps, self.latent)
        return w.unflatten(-1, shape), u.unflatten(-1, shape), b

    def maps(self, h: Tensor) -> PlanarMaps:
        """Return the maps of each image for features h (B, F)."""
        # Adam moves every weight by the learning rate, whatever its gradient, and F weights with
        # it each number that they add up to. The maps cannot follow such jumps; 1/√F tames them.
        flat = self.flow(h * self.features**-0.5)
        return PlanarMaps(*self._split(at_least_float32(flat)))

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


def log_softplus(x: Tensor) -> Tensor:
    """Return log(log(1 + eˣ)) without underflow: it tends to x as x → −∞."""
    far = x < -15  # there log(1 + eˣ) = eˣ(1 − eˣ/2 + …), exact in float64 up to e^(2x)/3
    near = torch.log(_softplus(torch.where(far, 0.0, x)))
    return torch.where(far, x - 0.5 * torch.exp(torch.where(far, x, -15.0)), near)


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + eˣ) to the last digit; torch's own is x from 20 on, off by e⁻²⁰."""
    return F.softplus(x, threshold=40)
