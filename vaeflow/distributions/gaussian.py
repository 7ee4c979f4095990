"""Gaussians that are drawn and scored at once.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, Normal

from vaeflow.distributions.draw import Draw, OnePass
from vaeflow.distributions.numerics import HALF_LOG_TWO_PI, at_least_float32


class DiagonalNormal(OnePass, Independent[Normal]):
    r"""N(loc, diag(exp(log_variance))): torch's `Independent(Normal)`, drawn and scored at once.

    With z = loc + σ·ε, :math:`\log q(z) = -\sum_i ½ε_i^2 + \log σ_i + ½\log 2π`: the noise is at
    hand, so that z need not be standardized again.

    Arguments:
        loc: (*, L).
        log_variance: (*, L), or broadcastable to it.
    """

    def __init__(self, loc: Tensor, log_variance: Tensor) -> None:
        # A density in bfloat16 is off by tenths of a nat, so autocast ends here.
        loc, log_variance = at_least_float32(loc), at_least_float32(log_variance)
        self.loc = loc
        self.log_scale = 0.5 * log_variance
        normal = Normal(loc, self.log_scale.exp(), validate_args=False)
        super().__init__(normal, 1, validate_args=False)

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z and score it by its noise."""
        normal = self.base_dist
        shape = Size((*sample_shape, *normal.batch_shape))
        noise = torch.randn(shape, dtype=normal.scale.dtype, device=normal.scale.device)
        log_prob = self._score(noise)
        z = torch.addcmul(self.loc, normal.scale, noise)
        return Draw(z, log_prob, torch.zeros_like(log_prob))

    def expand(
        self, batch_shape: Size | Sequence[int], _instance: Distribution | None = None
    ) -> DiagonalNormal:
        """Return the same law for a larger batch, as Pyro's plates ask for."""
        shape = Size((*batch_shape, self.event_shape[0]))
        return DiagonalNormal(self.loc.expand(shape), 2 * self.log_scale.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L)."""
        return self._score((value - self.loc) / self.base_dist.scale)

    def _score(self, noise: Tensor) -> Tensor:
        log_volume = self.log_scale.expand(self.loc.shape).sum(-1)
        return -0.5 * (noise * noise).sum(-1) - log_volume - noise.shape[-1] * HALF_LOG_TWO_PI


class StandardNormal(DiagonalNormal):
    r"""N(0, I), scored without its zeros: :math:`\log p(z) = -\sum_i ½z_i^2 + ½\log 2π`.

    Arguments:
        zero: 0 (L).
    """

    def __init__(self, zero: Tensor) -> None:
        super().__init__(zero, zero)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L)."""
        return -0.5 * (value * value).sum(-1) - value.shape[-1] * HALF_LOG_TWO_PI
