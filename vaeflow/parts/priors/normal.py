"""The standard normal prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.gaussian import StandardNormal
from vaeflow.parts.abstract import Infer, Prior, Shape


class Normal(Prior):
    """N(0, I). It has no options."""

    zero: Tensor

    def __init__(self, latent: int, data_shape: Shape) -> None:
        super().__init__(latent, data_shape)
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self, infer: Infer) -> Distribution:
        return StandardNormal(self.zero)
