"""The Gaussian likelihood of real-valued data."""

from __future__ import annotations

from math import log, pi, prod
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints

from vaeflow.parts.abstract import Shape
from vaeflow.parts.likelihoods.scaled import Link, Scaled

GaussianScale = Literal["fixed", "shared", "pixel", "optimal"]
_MOMENTUM = 0.01


class Gaussian(Scaled):
    r"""Independent Gaussian values around a mean that the decoder emits.

    .. math:: \log p(x|z) = \sum_i -\frac{(x_i - μ_i)^2}{2σ_i^2} - \log(σ_i \sqrt{2π})

    The best shared σ needs no learning: it is the root of the mean squared error (Rybkin et al.
    2021, eq. 8). With scale "optimal" a training batch is scored by the σ of its own errors, and an
    evaluation by the mean error of about the last hundred batches.

    Options:
        scale: "fixed" σ, one learned σ ("shared"), one per value from the decoder ("pixel"), or the
            "optimal" shared σ of the current errors.
        sigma: σ itself if fixed, its start otherwise, which "optimal" forgets at the first batch.
        floor: the smallest σ that learning can reach; constant values would drive it to 0.
        link: map from the decoder's output to the mean; "sigmoid" keeps it in (0, 1).
    """

    support = constraints.real
    variance: Tensor
    batches: Tensor

    def __init__(
        self,
        data_shape: Shape,
        *,
        scale: GaussianScale = "fixed",
        sigma: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-2,
        link: Link = "identity",
    ) -> None:
        super().__init__(data_shape, scale, sigma, floor, link)
        if scale == "fixed":
            self.log_peak = -prod(self.data_shape) * log(sigma * (2 * pi) ** 0.5)

        if scale == "optimal":
            self.register_buffer("variance", torch.tensor(sigma**2))
            self.register_buffer("batches", torch.tensor(0.0))

    def forward(self, output: Tensor) -> Distribution:
        mean, sigma = self.split(output)
        if self.scale == "optimal":
            if self.training:
                return _OfBatch(mean, self.variance.sqrt(), self.floor, len(self.data_shape))
            sigma = self.variance.sqrt()
        return self.independent(Normal(mean, sigma, validate_args=False))

    @torch.no_grad()
    def observe(self, px: Distribution, x: Tensor) -> None:
        """Move the running σ² towards the best σ² of a training batch."""
        if isinstance(px, _OfBatch):
            self.batches += 1
            # The mean of all batches at first, then of about the last hundred.
            share = (1 / self.batches).clamp(min=_MOMENTUM)
            self.variance.lerp_(px.best_variance(x).to(self.variance), share)


class _OfBatch(Independent[Normal]):
    """Gaussian values of a training batch, scored by the σ that scores this batch best.

    Arguments:
        mean: (K, B, *data_shape).
        sigma: the running σ, of draws.
        floor: the smallest σ.
        dimensions: of the data.
    """

    def __init__(self, mean: Tensor, sigma: Tensor, floor: float, dimensions: int) -> None:
        super().__init__(Normal(mean, sigma, validate_args=False), dimensions, validate_args=False)
        self.floor = floor

    def best_variance(self, x: Tensor) -> Tensor:
        """Return σ² = the mean squared error of x, a number (Rybkin et al. 2021, eq. 8).

        What is NaN in x is missing, and is left out of the mean.
        """
        with torch.no_grad():  # torch's compiler does not follow a decorated method of this class
            missing = x.isnan()
            error = torch.where(missing, 0.0, x - self.base_dist.loc)
            best = error.square().mean() * (missing.numel() / (~missing).sum().clamp(min=1))
            return best.clamp(min=self.floor**2)

    def log_prob(self, x: Tensor) -> Tensor:
        values = Independent(self._of(x), self.reinterpreted_batch_ndims, validate_args=False)
        log_prob: Tensor = values.log_prob(x)
        return log_prob

    def log_prob_of_each(self, x: Tensor) -> Tensor:
        """Return the score of each value, NaN being a missing one (see `ByValue`)."""
        each: Tensor = self._of(x).log_prob(torch.where(x.isnan(), 0.0, x))
        return each

    def _of(self, x: Tensor) -> Normal:
        return Normal(self.base_dist.loc, self.best_variance(x).sqrt(), validate_args=False)
