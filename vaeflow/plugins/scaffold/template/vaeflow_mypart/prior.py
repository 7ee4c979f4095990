"""A Gaussian prior whose mean and variance are learned.

Shapes: L latent size.
"""

from __future__ import annotations

from math import log

import torch
from pydantic import PositiveFloat
from torch import nn
from torch.distributions import Distribution
from vaeflow.distributions import DiagonalNormal
from vaeflow.parts import Infer, Prior, Shape


class MyPart(Prior):
    r"""N(μ, diag σ²) with a learned mean and standard deviation for each dimension.

    .. math:: \log p(z) = -\sum_{i=1}^L \frac{(z_i - μ_i)^2}{2σ_i^2} + \log(σ_i \sqrt{2π})

    The best prior is the average of q(z|x) over the data (Hoffman & Johnson 2016); this one matches
    its first two moments, dimension by dimension. `--objective.kl analytic` knows its closed form.

    Options:
        sigma: σ at the start, the same for every dimension; the mean starts at 0.
    """

    def __init__(self, latent: int, data_shape: Shape, *, sigma: PositiveFloat = 1.0) -> None:
        super().__init__(latent, data_shape)
        self.loc = nn.Parameter(torch.zeros(latent))
        self.log_variance = nn.Parameter(torch.full((latent,), 2 * log(sigma)))

    def forward(self, infer: Infer) -> Distribution:
        """Return p(z), batch (), event (L,); it asks for no posterior."""
        return DiagonalNormal(self.loc, self.log_variance)
