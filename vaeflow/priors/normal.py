"""The standard normal prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import Normal as TorchNormal

from vaeflow.components import Infer, Prior, Shape


class Normal(Prior):
    """N(0, I). It has no options."""

    loc: Tensor
    scale: Tensor

    def __init__(self, latent: int, data_shape: Shape) -> None:
        super().__init__(latent, data_shape)
        self.register_buffer("loc", torch.zeros(latent), persistent=False)
        self.register_buffer("scale", torch.ones(latent), persistent=False)

    def forward(self, infer: Infer) -> Distribution:  # noqa: D102
        normal = TorchNormal(self.loc, self.scale, validate_args=False)
        return Independent(normal, 1, validate_args=False)
