"""The negative binomial likelihood of counts that vary more than a Poisson's."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from vaeflow.distributions.numerics import log_rising, log_softplus, softplus, widest
from vaeflow.parts.abstract import Shape
from vaeflow.parts.likelihoods.scaled import Scale, Scaled


class NegativeBinomial(Scaled):
    r"""Independent counts of mean μ = log(1 + e^o), for decoder output o, and variance μ + μ²/r.

    .. math::
        \log p(x|z) = \sum_i \log\frac{Γ(x_i + r_i)}{Γ(r_i)\, x_i!}
        + x_i \log\frac{μ_i}{r_i + μ_i} + r_i \log\frac{r_i}{r_i + μ_i}

    A Poisson whose rate has a Gamma distribution of shape r; r → ∞ is the Poisson (Greenwood &
    Yule 1920). A probability, in nats.

    Options:
        dispersion: "fixed" r, one learned r ("shared"), or one per value from the decoder
            ("pixel").
        r: itself if fixed, its start if learned.
        floor: the smallest r that learning can reach.
    """

    support = constraints.nonnegative_integer
    example = "--dataset file --dataset.path PATH"

    def __init__(
        self,
        data_shape: Shape,
        *,
        dispersion: Scale = "shared",
        r: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-3,
    ) -> None:
        super().__init__(data_shape, dispersion, r, floor)

    def forward(self, output: Tensor) -> Distribution:
        return self.independent(GammaPoisson(*self.split(output)))


class GammaPoisson(Distribution):
    """A Poisson of mean μ = softplus(output), scaled by a Gamma variable of shape r and mean 1."""

    support = constraints.nonnegative_integer

    def __init__(self, output: Tensor, r: Tensor) -> None:
        super().__init__(torch.broadcast_shapes(output.shape, r.shape), validate_args=False)
        self.output, self.r = output, r

    @property
    def mean(self) -> Tensor:
        """Return μ."""
        return softplus(self.output)

    @property
    def variance(self) -> Tensor:
        """Return μ + μ²/r."""
        return self.mean + self.mean.square() / self.r

    def log_prob(self, x: Tensor) -> Tensor:
        """Score counts; the terms that grow with r are taken together, as they cancel."""
        output, r, x = widest(self.output), widest(self.r), widest(x)
        odds = torch.log1p(softplus(output) / r)
        gammas = log_rising(x, r) - torch.lgamma(x + 1)
        score = gammas + x * (log_softplus(output) - odds) - r * odds
        return score.to(self.output.dtype)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw the rate, then the count."""
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            gamma = torch._standard_gamma(self.r.expand(shape))
            return torch.poisson(gamma * (self.mean / self.r))
