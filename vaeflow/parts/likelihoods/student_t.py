"""The Student-t likelihood of real-valued data with heavy tails."""

from __future__ import annotations

from functools import cache
from math import log, prod
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import StudentT as TorchStudentT

from vaeflow.distributions.numerics import HALF_LOG_TWO_PI, log_rising
from vaeflow.parts.abstract import Shape
from vaeflow.parts.likelihoods.scaled import Link, Scale, Scaled


class StudentT(Scaled):
    r"""Independent Student-t values around a mean that the decoder emits.

    .. math::
        \log p(x|z) = \sum_i -\frac{ν + 1}{2} \log\Big(1 + \frac{(x_i - μ_i)^2}{ν σ_i^2}\Big)
        + \log\frac{Γ(\frac{ν+1}{2})}{Γ(\frac{ν}{2})\, σ_i \sqrt{πν}}

    An error far beyond σ costs its logarithm only; ν → ∞ is the Gaussian (Student 1908).

    Options:
        df: ν, the degrees of freedom; a mean exists above 1, a variance above 2.
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
        df: Annotated[float, Field(gt=1)] = 5.0,
        scale: Scale = "fixed",
        sigma: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-2,
        link: Link = "identity",
    ) -> None:
        super().__init__(data_shape, scale, sigma, floor, link)
        self.df = df
        if scale == "fixed":
            self.log_peak = prod(self.data_shape) * (_log_peak(df) - log(sigma))

    def forward(self, output: Tensor) -> Distribution:
        mean, sigma = self.split(output)
        return self.independent(StudentTValues(self.df, mean, sigma, validate_args=False))


class StudentTValues(TorchStudentT):
    """torch's with all digits at a large ν, where log Γ((ν+1)/2) and log Γ(ν/2) cancel."""

    def __init__(self, df: float, loc: Tensor, scale: Tensor, validate_args: bool) -> None:
        super().__init__(df, loc, scale, validate_args=validate_args)
        self.log_peak = _log_peak(df)

    def log_prob(self, x: Tensor) -> Tensor:
        away = (x - self.loc) / self.scale
        tail = 0.5 * (self.df + 1) * torch.log1p(away.square() / self.df)
        return self.log_peak - self.scale.log() - tail


@cache  # a number, which torch.export could not take from a tensor
def _log_peak(df: float) -> float:
    """Return the log-density at the mean for σ = 1; −½ log 2π for ν → ∞."""
    half = torch.tensor([0.5, df / 2], dtype=torch.float64)
    return log_rising(half[0], half[1]).item() - HALF_LOG_TWO_PI
