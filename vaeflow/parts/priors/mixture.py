"""The Gaussian-mixture prior."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import nn
from torch.distributions import Distribution

from vaeflow.distributions.mixture import DiagonalNormalMixture
from vaeflow.parts.abstract import Infer, Prior, Shape


class Mixture(Prior):
    r"""A learned mixture of C diagonal Gaussians.

    .. math:: p(z) = \sum_c π_c\, N(m_c, \mathrm{diag}\, σ_c^2)

    It starts with equal weights, unit scales and random means.

    Options:
        components: C.
        spread: standard deviation of the means at the start; with 0 all components are one, and
            learn the same.
    """

    def __init__(
        self,
        latent: int,
        data_shape: Shape,
        *,
        components: PositiveInt = 10,
        spread: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(latent, data_shape)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread * torch.randn(components, latent))
        self.log_variance = nn.Parameter(torch.zeros(components, latent))

    def forward(self, infer: Infer) -> Distribution:
        return DiagonalNormalMixture(self.logits, self.loc, self.log_variance)
