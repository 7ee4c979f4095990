"""The Gaussian likelihood of real-valued data."""

from __future__ import annotations

from math import expm1, log, pi, prod
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, constraints

from vaeflow.components import Likelihood, Shape


class Gaussian(Likelihood):
    r"""Independent Gaussian values around a mean that the decoder emits.

    .. math:: \log p(x|z) = \sum_i -\frac{(x_i - μ_i)^2}{2σ_i^2} - \log(σ_i \sqrt{2π})

    Options:
        scale: "fixed" σ, one learned σ ("shared"), or one per value from the decoder ("pixel").
        sigma: σ itself if fixed, its start if learned.
        floor: the smallest σ that learning can reach; constant values would drive it to 0.
        link: map from the decoder's output to the mean; "sigmoid" keeps it in (0, 1).
    """

    support = constraints.real

    def __init__(
        self,
        data_shape: Shape,
        *,
        scale: Literal["fixed", "shared", "pixel"] = "fixed",
        sigma: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-2,
        link: Literal["identity", "sigmoid"] = "identity",
    ) -> None:
        super().__init__(data_shape)
        self.scale = scale
        self.sigma = sigma
        self.floor = floor
        self.link = link
        if scale == "fixed":
            self.log_peak = -prod(self.data_shape) * log(sigma * (2 * pi) ** 0.5)
        # softplus(raw) + floor = sigma at the start: raw = log(e^gap − 1), without overflow
        gap = max(sigma - floor, 1e-6)
        start = gap + log(-expm1(-gap))
        if scale == "shared":
            self.raw = nn.Parameter(torch.tensor(start))
        elif scale == "pixel":
            self.output_shape = (2, *self.data_shape)  # mean and raw scale
            self.start = start

    def forward(self, output: Tensor) -> Distribution:  # noqa: D102
        sigma: Tensor | float = self.sigma
        if self.scale == "shared":
            sigma = F.softplus(self.raw) + self.floor
        elif self.scale == "pixel":
            output, raw = output.unbind(-len(self.output_shape))
            sigma = F.softplus(raw + self.start) + self.floor
        mean = torch.sigmoid(output) if self.link == "sigmoid" else output
        pixels = Normal(mean, sigma, validate_args=False)
        return Independent(pixels, len(self.data_shape), validate_args=False)
