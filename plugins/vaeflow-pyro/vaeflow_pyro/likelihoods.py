"""Pyro's univariate laws as likelihoods, each by a name."""

from __future__ import annotations

import math
from types import MappingProxyType

from pydantic import PositiveInt
from torch import Tensor
from torch.distributions import Distribution, constraints

from vaeflow.parts import Shape
from vaeflow_pyro.law import Law, LongWeibull, Open, dist


class AsymmetricLaplace(Law):
    """Numbers around a peak, with tails of different slopes on its sides."""

    law = dist.AsymmetricLaplace
    arguments = ("loc", "scale", "asymmetry")
    shapes = ("asymmetry",)


class Beta(Law):
    """Shares within (0, 1), without 0 and 1 themselves, where a density may have poles."""

    law = dist.Beta
    arguments = ("concentration1", "concentration0")
    shapes = ("concentration1", "concentration0")
    within = Open(0.0, 1.0)


class Exponential(Law):
    """Waiting times of a constant hazard."""

    law = dist.Exponential
    arguments = ("rate",)


class Gamma(Law):
    """Positive numbers, by mean and shape."""

    law = dist.Gamma
    arguments = ("rate", "concentration")
    shapes = ("concentration",)
    within = constraints.positive

    def made(self, rate: Tensor, concentration: Tensor) -> Distribution:
        return super().made(concentration=concentration, rate=concentration / rate)


class GammaPoisson(Law):
    """Counts of a Poisson whose rate is Gamma, by mean and shape: a negative binomial."""

    law = dist.GammaPoisson
    arguments = ("rate", "concentration")
    shapes = ("concentration",)

    def made(self, rate: Tensor, concentration: Tensor) -> Distribution:
        return super().made(concentration=concentration, rate=concentration / rate)


class Geometric(Law):
    """Failures before the first success."""

    law = dist.Geometric
    arguments = ("logits",)


class HalfNormal(Law):
    """Positive numbers, most near 0, with a light tail."""

    law = dist.HalfNormal
    arguments = ("scale",)


class InverseGamma(Law):
    """Positive numbers whose inverse is Gamma, with a shape above 2, where a variance exists."""

    law = dist.InverseGamma
    arguments = ("rate", "concentration")
    shapes = ("concentration",)

    def made(self, rate: Tensor, concentration: Tensor) -> Distribution:
        return super().made(concentration=2 + concentration, rate=rate)


class LogNormal(Law):
    """Positive numbers whose logarithm is normal."""

    law = dist.LogNormal
    arguments = ("loc", "scale")


class Logistic(Law):
    """Numbers with tails between the Gaussian's and the Laplace law's."""

    law = dist.Logistic
    arguments = ("loc", "scale")


class StudentT(Law):
    """Numbers with outliers; each value has degrees of freedom of its own, above 2."""

    law = dist.StudentT
    arguments = ("loc", "scale", "df")
    shapes = ("df",)

    def made(self, loc: Tensor, scale: Tensor, df: Tensor) -> Distribution:
        return super().made(loc=loc, scale=scale, df=2 + df)


class VonMises(Law):
    """Angles within [−π, π]; `mean` is the circular one."""

    law = dist.VonMises
    arguments = ("loc", "concentration")
    shapes = ("concentration",)
    within = constraints.interval(-math.pi, math.pi)
    exemptions = MappingProxyType(
        {
            "draws_match_the_mean": "the mean of angles is the circular one",
            "mean_is_that_of_the_density": "the mean of angles is the circular one",
        }
    )

    def made(self, loc: Tensor, concentration: Tensor) -> Distribution:
        return super().made(
            loc=(loc + math.pi) % (2 * math.pi) - math.pi, concentration=concentration
        )


class Weibull(Law):
    """Lifetimes, whose hazard rises or falls, by scale and shape."""

    law = LongWeibull
    arguments = ("scale", "concentration")
    shapes = ("concentration",)


class ZeroInflatedPoisson(Law):
    """Counts with more zeros than a Poisson has (Lambert 1992)."""

    law = dist.ZeroInflatedPoisson
    arguments = ("rate", "gate_logits")
    within = constraints.nonnegative_integer


class ZeroInflatedNegativeBinomial(Law):
    """Overdispersed counts with more zeros than a negative binomial has, by its mean and shape."""

    law = dist.ZeroInflatedNegativeBinomial
    arguments = ("rate", "total_count", "gate_logits")
    shapes = ("total_count",)
    within = constraints.nonnegative_integer

    def made(self, rate: Tensor, total_count: Tensor, gate_logits: Tensor) -> Distribution:
        logits = rate.log() - total_count.log()
        return super().made(total_count=total_count, logits=logits, gate_logits=gate_logits)


class _OfTrials(Law):
    """Successes among N trials."""

    def __init__(self, data_shape: Shape, total_count: int) -> None:
        super().__init__(data_shape)
        self.support = constraints.integer_interval(0, total_count)
        self.total_count = total_count

    def made(self, **arguments: Tensor) -> Distribution:
        first = next(iter(arguments.values()))
        return super().made(**arguments, total_count=first.new_tensor(float(self.total_count)))


class Binomial(_OfTrials):
    """Successes among N trials.

    Options:
        total_count: N.
    """

    law = dist.Binomial
    arguments = ("logits",)

    def __init__(self, data_shape: Shape, *, total_count: PositiveInt = 10) -> None:
        super().__init__(data_shape, total_count)


class BetaBinomial(_OfTrials):
    """Successes among N trials whose probability differs from value to value by a Beta law.

    Options:
        total_count: N.
    """

    law = dist.BetaBinomial
    arguments = ("concentration1", "concentration0")
    shapes = ("concentration1", "concentration0")

    def __init__(self, data_shape: Shape, *, total_count: PositiveInt = 10) -> None:
        super().__init__(data_shape, total_count)
