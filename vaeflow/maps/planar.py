"""Planar maps as a stack that is evaluated through its Gram matrix.

Shapes: K samples, B batch, L latent size, T maps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from vaeflow.distributions.contexts import full_precision, recorded
from vaeflow.distributions.numerics import log_softplus, softplus, widest
from vaeflow.maps.planar_root import planar_root


class PlanarMaps:
    r"""A stack of T planar maps, evaluated through scalars.

    From z_t = z_0 + Σ_{j≤t} û_j tanh(a_j) follow the pre-activations,
    a_t = w_t·z_0 + b_t + Σ_{j<t} G_tj tanh(a_j), with the Gram matrix G_tj = w_t·û_j. All K samples
    share G, and the recursion over t needs no vector of length L.

    Arguments:
        w: (B, T, L).
        u: (B, T, L), before the constraint.
        b: (B, T).
    """

    def __init__(self, w: Tensor, u: Tensor, b: Tensor) -> None:
        # Autocast would round the products that make z, but not its log-determinant.
        with full_precision(w):
            self.u_hat, self.log_slope, self.gram = _constrained(w, u)
        self.w = w
        self.u = u
        self.b = b

    def __repr__(self) -> str:
        batch, steps, latent = self.w.shape
        return f"PlanarMaps(batch {batch}, {steps} maps, latent {latent})"

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        each = _draws(z).transpose(0, 1)  # (B, N, L), N draws of an image
        with full_precision(z):
            each, log_det = _stack(each, self.w, self.u_hat, self.b, self.gram, self.log_slope)
        return each.transpose(0, 1).reshape(z.shape), log_det.reshape(z.shape[:-1])

    @torch.no_grad()
    def log_dets(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) as a call does; return log|det| of each map, (*, B, T); no gradients."""
        shape, z = z.shape, _draws(z)
        with full_precision(z):
            start = torch.einsum("nbl,btl->bnt", z, self.w) + self.b[:, None]
            a, tanh, _ = _pre_activations(start, self.gram)
            z = z + torch.einsum("tnb,btl->nbl", tanh, self.u_hat)
        terms = planar_log_det(a, self.log_slope.mT[:, None]).permute(1, 2, 0)
        return z.reshape(shape), terms.reshape(*shape[:-1], terms.shape[-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Undo the maps, from the last to the first; log|det| is that of the forward maps.

        With z = z_T, z_t = z_T − Σ_{j>t} û_j tanh(a_j), so that each a_t is the root of
        a_t + G_tt tanh(a_t) = w_t·z_T + b_t − Σ_{j>t} G_tj tanh(a_j). Where 1 + w·û is small,
        the root moves by as much as the third root of the rounding of z: it is sought in float64.
        """
        exact = PlanarMaps(widest(self.w), widest(self.u), widest(self.b))
        back, log_det = exact._undo(widest(z))
        return back.to(z.dtype), log_det.to(z.dtype)

    def _undo(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with full_precision(z):
            start = torch.einsum("...bl,btl->...bt", z, self.w) + self.b
            a = start.new_empty(*start.shape[:-1], 0)
            for t in reversed(range(start.shape[-1])):
                later = (self.gram[:, t, t + 1 :] * torch.tanh(a)).sum(-1)
                root = planar_root(start[..., t] - later, self.log_slope[:, t])
                a = torch.cat([root[..., None], a], dim=-1)
            z = z - torch.einsum("...bt,btl->...bl", torch.tanh(a), self.u_hat)
        return z, planar_log_det(a, self.log_slope).sum(-1)


def _constrained(w: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return û, log(1 + w·û) and the Gram matrix, as `_Constrained` tells."""
    if not recorded():
        made: tuple[Tensor, Tensor, Tensor] = _Constrained.apply(w, u)  # type: ignore[no-untyped-call]
        return made
    wu, ww = (w * u).sum(-1), (w * w).sum(-1)
    flat = ww == 0
    c = ((softplus(wu) - 1 - wu) / torch.where(flat, 1.0, ww)).masked_fill(flat, 0.0)
    u_hat = torch.addcmul(u, c[..., None], w)
    return u_hat, log_softplus(wu).masked_fill(flat, 0.0), w @ u_hat.mT


def _stack(
    z: Tensor, w: Tensor, u_hat: Tensor, b: Tensor, gram: Tensor, log_slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return z' and the sum of log|det|, as `_Stack` tells."""
    if not recorded():
        moved: tuple[Tensor, Tensor] = _Stack.apply(z, w, u_hat, b, gram, log_slope)  # type: ignore[no-untyped-call]
        return moved
    # `_pre_activations` without a write in place
    later = torch.baddbmm(b[:, None], z, w.mT).permute(2, 1, 0)
    columns = gram.permute(2, 1, 0)[:, :, None]
    each = []
    for j in range(w.shape[1]):
        each.append(later[0])
        later = torch.addcmul(later[1:], columns[j, j + 1 :], torch.tanh(later[0]))
    a = torch.stack(each)
    log_det = planar_log_det(a, log_slope.mT[:, None])
    return torch.baddbmm(z, _images_first(torch.tanh(a)), u_hat), log_det.sum(0)


class _Constrained(torch.autograd.Function):
    r"""Map w and u (B, T, L) to û = u + c·w, log(1 + w·û) and the Gram matrix w_t·û_j.

    `test_constraint_function_has_autograds_gradient` of tests/maps/test_planar.py proves it.

    c = (softplus(w·u) − 1 − w·u)/‖w‖², and 1 + w·û = softplus(w·u). Where w = 0 the map is a
    translation: û = u and the determinant is 1, so that c and the logarithm are 0.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wu, ww = (w * u).sum(-1), (w * w).sum(-1)
        flat = ww == 0
        c = ((softplus(wu) - 1 - wu) / ww).masked_fill_(flat, 0.0)
        log_slope = log_softplus(wu).masked_fill_(flat, 0.0)
        u_hat = torch.addcmul(u, c[..., None], w)
        ctx.save_for_backward(w, u, wu, ww, c, log_slope, u_hat)
        return u_hat, log_slope, w @ u_hat.mT

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_u_hat: Tensor, d_log_slope: Tensor, d_gram: Tensor
    ) -> tuple[Tensor, Tensor]:
        w, u, wu, ww, c, log_slope, u_hat = ctx.saved_tensors
        d_u = torch.baddbmm(d_u_hat, d_gram.mT, w)  # the whole gradient of û, which is that of u
        over = (d_u * w).sum(-1) / ww
        # softplus' = sigmoid; its quotient by softplus tends to 1 where both underflow.
        d_wu = d_log_slope * torch.exp(F.logsigmoid(wu) - log_slope) - over * torch.sigmoid(-wu)
        d_ww = -over * c
        flat = ww == 0
        d_wu, d_ww = d_wu.masked_fill_(flat, 0.0)[..., None], d_ww.masked_fill_(flat, 0.0)
        d_w = (d_gram @ u_hat).addcmul_(d_u, c[..., None]).addcmul_(u, d_wu)
        return d_w.addcmul_(w, d_ww[..., None], value=2), d_u.addcmul_(w, d_wu)


class _Stack(torch.autograd.Function):
    r"""Map z (B, N, L), N draws of each image, to z' = z + Σ_t û_t tanh(a_t) and Σ_t log|det_t|.

    The pre-activations solve a_t = w_t·z + b_t + Σ_{j<t} G_tj tanh(a_j). Let ∂a_t be the gradient
    that a_t receives from tanh(a_t) and from the log-determinant. The same recursion, backwards,
    gives λ_t = ∂a_t + sech²(a_t) Σ_{i>t} G_it λ_i, the gradient of w_t·z + b_t; λ_i tanh(a_j) is
    that of G_ij, i > j. It takes T small steps; autograd would record and replay a dozen times as
    many. `test_stack_function_passes_gradcheck` of tests/maps/test_planar.py proves it.

    Shapes: w and û (B, T, L), b and log(1 + w·û) (B, T), G (B, T, T); the log-determinant (N, B).
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        z: Tensor,
        w: Tensor,
        u_hat: Tensor,
        b: Tensor,
        gram: Tensor,
        log_slope: Tensor,
    ) -> tuple[Tensor, Tensor]:
        a, tanh, columns = _pre_activations(torch.baddbmm(b[:, None], z, w.mT), gram)
        log_slope = log_slope.mT[:, None]  # (T, 1, B)
        log_det = planar_log_det(a, log_slope)
        ctx.save_for_backward(z, w, u_hat, a, tanh, log_det, columns, log_slope)
        return torch.baddbmm(z, _images_first(tanh), u_hat), log_det.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_z: Tensor, d_log_det: Tensor) -> tuple[Tensor, ...]:
        z, w, u_hat, a, tanh, log_det, columns, log_slope = ctx.saved_tensors
        log_sech2 = _log_sech2(a)
        sech2 = log_sech2.exp()
        # det = tanh² + sech²·(1 + w·û): the parts of its logarithmic derivative.
        second = torch.exp(log_sech2 + log_slope - log_det)
        first = torch.exp(tanh.abs().log() - log_det).copysign(tanh)
        d_a = d_log_det * (2 * (sech2 * first - tanh * second))
        adjoint = d_a.addcmul_((d_z @ u_hat.mT).permute(2, 1, 0), sech2)  # (T, N, B)
        below = torch.zeros_like(adjoint)  # Σ_{i>t} G_it λ_i
        each = [*zip(adjoint.unbind(), sech2.unbind(), below.unbind(), strict=True)]
        for i in reversed(range(len(each))):
            adjoint_i, sech2_i, below_i = each[i]
            adjoint_i.addcmul_(sech2_i, below_i)
            below[:i].addcmul_(columns[:i, i], adjoint_i)
        d_a, tanh = _images_first(adjoint), _images_first(tanh)
        return (
            torch.baddbmm(d_z, d_a, w),
            _outer(d_a, z),
            _outer(tanh, d_z),
            d_a.sum(1),
            _outer(d_a, tanh).tril_(-1),
            (d_log_det * second).sum(1).mT,
        )


def _pre_activations(start: Tensor, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Solve a_t = s_t + Σ_{j<t} G_tj tanh(a_j) for s (B, N, T) and G (B, T, T).

    The axis of steps comes first and that of images last, so that each step reads and writes
    adjacent memory: a and tanh(a) are (T, N, B), and (T, T, 1, B) holds G_tj at (j, t).
    """
    a = start.permute(2, 1, 0).clone(memory_format=torch.contiguous_format)
    columns = gram.permute(2, 1, 0).contiguous()[:, :, None]
    tanh = torch.empty_like(a)
    for j, (a_j, tanh_j) in enumerate(zip(a.unbind(), tanh.unbind(), strict=True)):
        torch.tanh(a_j, out=tanh_j)
        a[j + 1 :].addcmul_(columns[j, j + 1 :], tanh_j)
    return a, tanh, columns


def _draws(z: Tensor) -> Tensor:
    """Return z (*, B, L) as (N, B, L), also without an image, where no size could be inferred."""
    return z[None].flatten(0, -3)


def _images_first(x: Tensor) -> Tensor:
    """Return x (T, N, B) as (B, N, T), lined up: else bmm would take the images one by one."""
    return x.permute(2, 1, 0).contiguous()


def _outer(x: Tensor, y: Tensor) -> Tensor:
    """Return Σ_n x_n y_nᵀ, (B, P, Q), for x (B, N, P) and y (B, N, Q)."""
    return x.mT * y if x.shape[1] == 1 else x.mT @ y  # of one draw bmm takes ten times as long


def planar_log_det(a: Tensor, log_slope: Tensor) -> Tensor:
    r"""Return log|1 + w·û tanh'(a)| for log_slope = log(1 + w·û), elementwise.

    .. math:: 1 + (w·\hat u)\,\mathrm{sech}^2 a = \tanh^2 a + \mathrm{sech}^2 a\,(1 + w·\hat u)

    A sum of two positive numbers, in logarithms: log|1 + …| loses every digit as w·û → −1.
    """
    # log tanh² is −∞ at 0, where its weight is 0 but its derivative is not: mask it beforehand.
    zero = a == 0
    log_tanh2 = 2 * torch.log(torch.tanh(torch.where(zero, 1.0, a.abs())))
    log_tanh2 = log_tanh2.masked_fill(zero, -torch.inf)
    return torch.logaddexp(log_tanh2, _log_sech2(a) + log_slope)


def _log_sech2(a: Tensor) -> Tensor:
    """Return log(1 − tanh² a) without cancellation."""
    magnitude = a.abs()
    return 2 * (math.log(2.0) - magnitude - torch.log1p(torch.exp(-2 * magnitude)))
