"""The Poisson likelihood of counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.distributions import Poisson as TorchPoisson

from vaeflow.distributions.numerics import log_softplus, softplus, widest
from vaeflow.parts.abstract import Likelihood


class Poisson(Likelihood):
    r"""Independent counts 0, 1, 2, … of a rate μ = log(1 + e^o) for decoder output o.

    .. math:: \log p(x|z) = \sum_i x_i \log μ_i - μ_i - \log x_i!

    (Poisson 1837.) A probability, in nats.
    """

    support = constraints.nonnegative_integer
    example = "--dataset file --dataset.path PATH"
    location_in_units = True

    def forward(self, output: Tensor) -> Distribution:
        return Independent(SoftplusPoisson(output), len(self.data_shape), validate_args=False)


class SoftplusPoisson(TorchPoisson):
    """A Poisson distribution that keeps the logarithm of a rate that underflows.

    At a million counts x log μ and log x! are 10⁷ nats and cancel: float32 would be off by tenths.
    """

    def __init__(self, output: Tensor) -> None:
        super().__init__(softplus(output), validate_args=False)
        self.output = output

    def log_prob(self, x: Tensor) -> Tensor:
        output, x = widest(self.output), widest(x)
        score = x * log_softplus(output) - softplus(output) - torch.lgamma(x + 1)
        return score.to(self.output.dtype)
