"""The Gaussian likelihood of real-valued data."""

from __future__ import annotations

from math import log, pi, prod

from pydantic import PositiveFloat
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints

from vaeflow.components import Shape
from vaeflow.likelihoods.scaled import Link, Scale, Scaled


class Gaussian(Scaled):
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
        scale: Scale = "fixed",
        sigma: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-2,
        link: Link = "identity",
    ) -> None:
        super().__init__(data_shape, scale, sigma, floor, link)
        if scale == "fixed":
            self.log_peak = -prod(self.data_shape) * log(sigma * (2 * pi) ** 0.5)

    def forward(self, output: Tensor) -> Distribution:  # noqa: D102
        mean, sigma = self.split(output)
        return self.independent(Normal(mean, sigma, validate_args=False))
