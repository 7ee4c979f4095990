"""The terms of a bound: log-densities of draws, and what follows from them.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from vaeflow.distributions.draw import Draw, grad_log_prob
from vaeflow.errors import ConfigError


@dataclass(frozen=True)
class Terms:
    """What every bound is made of, for K draws of q(z|x) at each of B images."""

    log_px: Tensor  # (K, B): log p(x|z)
    log_pz: Tensor  # (K, B): log p(z)
    sample: Draw  # of q(z|x), with its density
    posterior: Distribution
    prior: Distribution

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
        linear = (slope * self.z).sum(-1)
        return self.log_qz.detach() + linear - linear.detach()


def _factors(d: Distribution) -> Distribution | None:
    """Return the distribution of the single dimensions of z if they are independent, else None."""
    if isinstance(d, Independent) and len(d.event_shape) == d.reinterpreted_batch_ndims:
        factors: Distribution = d.base_dist
        return factors
    return None
