"""The negative binomial likelihood of counts that vary more than a Poisson's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from vaeflow.distributions.numerics import log_softplus
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
        self.r: Tensor
        output, self.r = torch.broadcast_tensors(output, r)
        super().__init__(output.shape, validate_args=False)
        self.mu, self.log_mu = F.softplus(output), log_softplus(output)

    @property
    def mean(self) -> Tensor:
        """Return μ."""
        return self.mu

    def log_prob(self, x: Tensor) -> Tensor:
        """Score counts; the terms that grow with r are taken together, as they cancel."""
        odds = torch.log1p(self.mu / self.r)
        gammas = log_rising(x, self.r) - torch.lgamma(x + 1)
        return gammas + x * (self.log_mu - odds) - self.r * odds

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw the rate, then the count."""
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            gamma = torch._standard_gamma(self.r.expand(shape))
            return torch.poisson(gamma * (self.mu / self.r))


def log_rising(x: Tensor, r: Tensor) -> Tensor:
    """Return log Γ(x + r) − log Γ(r) − x log r, the sum of log(1 + j/r) for j = 0 … x − 1.

    For large r the two log Γ agree in all digits of a float. Stirling's series gives their
    difference term by term (DLMF 5.11.1); the terms left out are below 1e-13.
    """
    edge = 30.0
    small, large = r.clamp(max=edge), r.clamp(min=edge)
    direct = torch.lgamma(x + small) - torch.lgamma(small) - x * small.log()
    ratio = torch.log1p(x / large)
    smooth = (x + large - 0.5) * ratio - x + _stirling(x + large) - _stirling(large)
    return torch.where(r < edge, direct, smooth)


def _stirling(r: Tensor) -> Tensor:
    inverse = 1 / r
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))
