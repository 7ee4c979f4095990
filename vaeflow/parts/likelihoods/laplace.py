"""The Laplace likelihood of real-valued data, which forgives outliers."""

from __future__ import annotations

from math import log, prod

from pydantic import PositiveFloat
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import Laplace as TorchLaplace

from vaeflow.parts.abstract import Shape
from vaeflow.parts.likelihoods.scaled import Link, Scale, Scaled


class Laplace(Scaled):
    r"""Independent Laplace values around a median m that the decoder emits.

    .. math:: \log p(x|z) = \sum_i -\frac{|x_i - m_i|}{b_i} - \log 2b_i

    An error counts by its size where a Gaussian's counts by its square (Laplace 1774).

    Options:
        scale: "fixed" b, one learned b ("shared"), or one per value from the decoder ("pixel").
        b: the mean of |x − m|; itself if fixed, its start if learned.
        floor: the smallest b that learning can reach; constant values would drive it to 0.
        link: map from the decoder's output to the median; "sigmoid" keeps it in (0, 1).
    """

    support = constraints.real

    def __init__(
        self,
        data_shape: Shape,
        *,
        scale: Scale = "fixed",
        b: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-2,
        link: Link = "identity",
    ) -> None:
        super().__init__(data_shape, scale, b, floor, link)
        if scale == "fixed":
            self.log_peak = -prod(self.data_shape) * log(2 * b)

    def forward(self, output: Tensor) -> Distribution:
        median, b = self.split(output)
        return self.independent(TorchLaplace(median, b, validate_args=False))
