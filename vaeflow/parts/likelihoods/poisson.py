"""The Poisson likelihood of counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.distributions import Poisson as TorchPoisson

from vaeflow.distributions.numerics import log_softplus
from vaeflow.parts.abstract import Likelihood


class Poisson(Likelihood):
    r"""Independent counts 0, 1, 2, … of a rate μ = log(1 + e^o) for decoder output o.

    .. math:: \log p(x|z) = \sum_i x_i \log μ_i - μ_i - \log x_i!

    (Poisson 1837.) A probability, in nats.
    """

    support = constraints.nonnegative_integer

    def forward(self, output: Tensor) -> Distribution:
        return Independent(_Poisson(output), len(self.data_shape), validate_args=False)


class _Poisson(TorchPoisson):
    """A Poisson distribution that keeps the logarithm of a rate that underflows."""

    def __init__(self, output: Tensor) -> None:
        super().__init__(F.softplus(output), validate_args=False)
        self.log_rate = log_softplus(output)

    def log_prob(self, x: Tensor) -> Tensor:
        return x * self.log_rate - self.rate - torch.lgamma(x + 1)
