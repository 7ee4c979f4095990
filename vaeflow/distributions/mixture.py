"""Mixtures of diagonal Gaussians whose draws have gradients.

Shapes: C components, L latent size; * is any batch. Densities are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.distributions import Distribution, constraints

from vaeflow.distributions.contexts import recorded
from vaeflow.distributions.draw import Draw, OnePass, no_formula
from vaeflow.distributions.numerics import HALF_LOG_TWO_PI, at_least_float32


class DiagonalNormalMixture(OnePass):
    r"""The law :math:`\sum_c π_c\, N(m_c, \mathrm{diag}\, σ_c^2)` with π = softmax(logits).

    A draw picks a component, then its noise. Its derivatives are implicit (Figurnov et al. 2018):
    as the parameters move, z moves so that its conditional CDFs F(z_i | z_1 … z_{i−1}) stay
    constant. Gradients of E[f(z)] are unbiased, in the weights too. Their variance grows with the
    gaps between components: where p(z) is small, z moves by 1/p(z).

    Arguments:
        logits: (*, C), of the weights.
        loc: (*, C, L), the means.
        log_variance: (*, C, L).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, loc: Tensor, log_variance: Tensor) -> None:
        super().__init__(logits.shape[:-1], loc.shape[-1:], validate_args=False)
        # A density in bfloat16 is off by tenths of a nat, so autocast ends here.
        self.log_weights = at_least_float32(logits).log_softmax(-1)
        self.loc = at_least_float32(loc)
        self.log_scale = 0.5 * at_least_float32(log_variance)

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z and score it."""
        z = self.rsample(sample_shape)
        log_prob = self.log_prob(z)
        return Draw(z, log_prob, torch.zeros_like(log_prob))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw z (K, *, L), differentiable in weights, means and scales."""
        shape = Size((*sample_shape, *self.batch_shape))
        with torch.no_grad():
            # The largest of logits plus Gumbel noise is a component drawn by its weight.
            gumbel = -torch.empty_like(self.log_weights.expand(*shape, -1)).exponential_().log()
            picked = (self.log_weights + gumbel).argmax(-1)[..., None, None]
            picked = picked.expand(*shape, 1, *self.event_shape)
            loc, log_scale = (
                x.expand(*shape, -1, -1).gather(-2, picked).squeeze(-2)
                for x in (self.loc, self.log_scale)
            )
            z = loc + log_scale.exp() * torch.randn_like(loc)
        if recorded():  # a program has draws, and no gradient of theirs
            return z
        given = (z, self.log_weights, self.loc, self.log_scale)
        moved: Tensor = _ImplicitDraw.apply(*given)  # type: ignore[no-untyped-call]
        return moved

    def expand(
        self, batch_shape: Size | Sequence[int], _instance: Distribution | None = None
    ) -> DiagonalNormalMixture:
        """Return the same law for a larger batch, as Pyro's plates ask for."""
        weights, loc, log_scale = (
            x.expand(*batch_shape, *x.shape[len(self.batch_shape) :])
            for x in (self.log_weights, self.loc, self.log_scale)
        )
        return DiagonalNormalMixture(weights, loc, 2 * log_scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L)."""
        x = (value[..., None, :] - self.loc) * (-self.log_scale).exp()
        log_volume = self.log_scale.sum(-1) + x.shape[-1] * HALF_LOG_TWO_PI
        log_normal = -0.5 * (x * x).sum(-1) - log_volume
        return (self.log_weights + log_normal).logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        """Return E[z], (*, L)."""
        return (self.log_weights.exp()[..., None] * self.loc).sum(-2)

    @property
    def variance(self) -> Tensor:
        """Return Var[z], (*, L)."""
        away = self.loc - self.mean[..., None, :]
        each = (2 * self.log_scale).exp() + away * away
        return (self.log_weights.exp()[..., None] * each).sum(-2)

    def entropy(self) -> Tensor:
        """Raise a NotImplementedError that tells how to estimate E[−log q(z)]."""
        raise no_formula(self, "entropy")


class _ImplicitDraw(torch.autograd.Function):
    r"""A draw z (K, *, L) of a mixture, as a function of its parameters.

    With w_ci the weight of component c given z_1 … z_{i−1}, n_ci its density at z_i, Φ_ci its CDF
    there, p_i = Σ_c w_ci n_ci and u_i = Σ_c w_ci Φ_ci, the derivative follows from ∂u = 0:

    .. math:: ∂z_i = \sum_c r_{ci} (∂m_{ci} + (z_i - m_{ci}) ∂\log σ_{ci}) - A_{ci} ∂\log w_{ci}

    where r_ci = w_ci n_ci/p_i and A_ci = w_ci (Φ_ci − u_i)/p_i; log w_ci depends on the parameters
    and on z_j, j < i. Backwards, z_i passes its gradient on to these z_j, from the last i to the
    first.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, z: Tensor, log_weights: Tensor, loc: Tensor, log_scale: Tensor
    ) -> Tensor:
        ctx.save_for_backward(z, log_weights, loc, log_scale)
        return z.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, log_weights, loc, log_scale = ctx.saved_tensors
        scale = log_scale.exp()
        away = z[..., None, :] - loc  # (K, *, C, L)
        x = away / scale
        log_n = -0.5 * x * x - log_scale - HALF_LOG_TWO_PI
        before = F.pad(log_n.cumsum(-1)[..., :-1], (1, 0))  # a difference would lose its digits
        log_w = (log_weights[..., None] + before).log_softmax(-2)
        log_p = (log_w + log_n).logsumexp(-2, keepdim=True)
        r = (log_w + log_n).softmax(-2)
        a = (log_w - log_p).exp() * _cdf_deviations(x, log_w.exp())
        slope = x / scale  # −∂ log n_ci/∂z_i

        received = torch.empty_like(z)
        passed = torch.zeros_like(a)  # Σ_{j>i} received_j A_cj
        total = torch.zeros_like(a[..., 0])
        for i in reversed(range(z.shape[-1])):
            passed[..., i] = total
            received[..., i] = grad[..., i] + (slope[..., i] * total).sum(-1)
            total = total + received[..., i, None] * a[..., i]
        direct = received[..., None, :] * r
        d_loc = direct - passed * slope
        d_log_scale = direct * away - passed * (x * x - 1)
        parameters = zip((-total, d_loc, d_log_scale), (log_weights, loc, log_scale), strict=True)
        return None, *(d.sum_to_size(p.shape) for d, p in parameters)


def _cdf_deviations(x: Tensor, w: Tensor) -> Tensor:
    """Return Φ(x_c) − Σ_c w_c Φ(x_c) (*, C, L), from the smaller tail, which holds its digits."""
    below, above = _lower_tail(x), _lower_tail(-x)
    upper = (w * (below - above)).sum(-2, keepdim=True) > 0
    tail = torch.where(upper, above, below)
    away = tail - (w * tail).sum(-2, keepdim=True)
    return torch.where(upper, -away, away)


def _lower_tail(x: Tensor) -> Tensor:
    """Return Φ(x); torch's own is 1 + erf, which has no digits left where Φ is small."""
    return 0.5 * torch.erfc(-math.sqrt(0.5) * x)
