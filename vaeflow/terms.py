"""The terms of a bound: log-densities of draws, importance weights and KL terms.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.distributions import Distribution, Independent, kl_divergence

from vaeflow.distributions.draw import Draw, grad_log_prob
from vaeflow.errors import ConfigError, PluginError


class DrawPath(NamedTuple):
    """The way of a draw to log p(x|z) and log p(z), whose gradient an objective may weigh."""

    z: Tensor  # (K, B, L): the draw, for the decoder and the prior
    weight: Tensor | None = None  # (2, K, B) zeros, by whose gradient `_Weigh` reaches `_Path`

    @classmethod
    def of(cls, z: Tensor) -> DrawPath:
        """Return the path of a draw z (K, B, L); that of a single draw has nothing to weigh."""
        if len(z) == 1 or not z.requires_grad:
            return cls(z)
        return cls(*_Path.apply(z))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Terms:
    """The parts of every bound, for K draws of q(z|x) at each of B images."""

    log_px: Tensor  # (K, B): log p(x|z)
    log_pz: Tensor  # (K, B): log p(z)
    sample: Draw  # of q(z|x), with its density
    posterior: Distribution
    prior: Distribution
    path: DrawPath | None = None  # from z to log_px and log_pz, for `weigh_path`

    @property
    def z(self) -> Tensor:
        """Return the draws, shape (K, B, L)."""
        return self.sample.z

    @property
    def log_base(self) -> Tensor:
        """Return log q0(z0), shape (K, B)."""
        return self.sample.log_base

    @property
    def log_det(self) -> Tensor:
        """Return log|det ∂z/∂z0|, summed over the flow's maps, shape (K, B)."""
        return self.sample.log_det

    @property
    def log_qz(self) -> Tensor:
        """Return log q(z|x) = log q0(z0) − log|det ∂z/∂z0|, shape (K, B)."""
        return self.sample.log_prob

    @property
    def log_weight(self) -> Tensor:
        """Return log w = log p(x|z) + log p(z) − log q(z|x), shape (K, B).

        Its mean over K is the ELBO, its log-mean-exp the IWAE bound.
        """
        return self.log_px + self.log_pz - self.log_qz

    def sampled_kl(self) -> Tensor:
        """Return log q(z|x) − log p(z), shape (K, B): its mean over K estimates KL(q(z|x) ‖ p)."""
        return self.log_qz - self.log_pz

    def analytic_kl(self) -> Tensor:
        """Return KL(q(z|x) ‖ p(z)) in closed form, shape (B,).

        Raises:
            ConfigError: where torch registers no closed form for this pair.
        """
        try:
            return kl_divergence(self.posterior, self.prior)
        except NotImplementedError:
            q, p = type(self.posterior).__name__, type(self.prior).__name__
            raise ConfigError(
                f"--objective.kl analytic: torch knows no closed form of the KL between {q} and "
                f"{p}; use --objective.kl sampled"
            ) from None

    def kl_per_dimension(self, *, analytic: bool) -> Tensor:
        """Return KL(q(z_j|x) ‖ p(z_j)) of each latent dimension, shape (B, L).

        Raises:
            ConfigError: where q or p is no product over the dimensions, or, in closed form, where
                torch registers none.
        """
        q, p = (_factors(d) for d in (self.posterior, self.prior))
        if q is None or p is None:
            culprit = self.posterior if q is None else self.prior
            raise ConfigError(
                f"--objective.free dimension: {type(culprit).__name__} has no densities of single "
                "dimensions; use --objective.free total"
            )
        if not analytic:
            return (q.log_prob(self.z) - p.log_prob(self.z)).mean(0)
        try:
            return kl_divergence(q, p)
        except NotImplementedError:
            raise ConfigError(
                f"--objective.kl analytic: torch knows no closed form of the KL between "
                f"{type(q).__name__} and {type(p).__name__}; use --objective.kl sampled"
            ) from None

    def log_q_of_path(self) -> Tensor:
        r"""Return log q(z|x) (K, B), whose only gradient is the one through z: the path gradient.

        Raises:
            ConfigError: where ∂ log q(z|x)/∂z cannot be had.
        """
        try:
            slope = grad_log_prob(self.posterior, self.sample)
        except (NotImplementedError, KeyError) as error:  # Pyro's planar-like flows raise the last
            raise ConfigError(
                f"the objective needs ∂ log q(z|x)/∂z, but {type(self.posterior).__name__} scores "
                "its own draws alone; use --objective elbo or iwae, or another --posterior"
            ) from error
        z = self.z if self.path is None else self.path.z
        linear = (slope * z).sum(-1)
        return self.log_qz.detach() + linear - linear.detach()

    def weigh_path(self, value: Tensor, weight: Tensor) -> Tensor:
        """Return `value`, made of these terms, with its gradient through z times `weight` (K, B).

        The gradient in the parameters of p(x|z) and p(z) stays as it is, and so does every gradient
        in a backward pass without this value. In a pass with it, `weight` multiplies the gradient
        of z through log_px, log_pz and `log_q_of_path`, not the one through `z` itself.

        Raises:
            PluginError: where the terms were made without a path.
        """
        if self.path is None or self.path.weight is None:
            raise PluginError(
                "these terms cannot weigh the gradient through z: compute log_px and log_pz at "
                "the z of path = vaeflow.parts.DrawPath.of(sample.z), and pass Terms(path=path)"
            )
        sent = torch.stack([torch.ones_like(weight), weight])
        weighed: Tensor
        weighed = _Weigh.apply(value, self.path.weight, sent)  # type: ignore[no-untyped-call]
        return weighed


class _Path(torch.autograd.Function):
    """Pass z on; going back, multiply its gradient by the weight that `_Weigh` sends, if any."""

    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        # A compiler takes a view of z for z itself, and passes by the backward of this function.
        return z.clone(), z.new_zeros(2, *z.shape[:-1])

    @staticmethod
    def backward(ctx: Any, d_z: Tensor | None, sent: Tensor | None) -> Tensor | None:
        if d_z is None or sent is None:
            return d_z
        count, total = sent  # zeros where compiled code stands for a None
        return d_z * torch.where(count == 0, 1.0, total / count)[..., None]


class _Weigh(torch.autograd.Function):
    """Pass a value on; going back, send `sent` itself, whatever the gradient of the value is."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, path: Tensor, sent: Tensor) -> Tensor:
        ctx.save_for_backward(sent)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, d_value: Tensor) -> tuple[Tensor, Tensor, None]:
        (sent,) = ctx.saved_tensors
        return d_value, sent, None


def _factors(d: Distribution) -> Distribution | None:
    """Return the distribution of the single dimensions of z if they are independent, else None."""
    if isinstance(d, Independent) and len(d.event_shape) == d.reinterpreted_batch_ndims:
        factors: Distribution = d.base_dist
        return factors
    return None
