"""What the likelihoods share: a law of Pyro for each value, its arguments from the decoder.

Shapes: K samples, B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.nn.functional import softplus

from vaeflow.parts import Likelihood, Shape
from vaeflow_pyro.library import dist

_REACH = 3.0  # of the logarithm of a shape
_LONGEST = 80.0  # logarithm of the nats that a score may lose
_LEAST = 1e-6  # of a scale, below which float32 has no slope


class Law(Likelihood):
    """Independent values of one law of Pyro.

    A subclass names the law and the arguments that the decoder emits, the location first. An
    argument is brought to where the law takes it: a number is left as it is, a probability is
    told by its logit, and a scale, rate or mean is log(1 + e^o) + 10⁻⁶. Each of `shapes` is
    exp(3 tanh(o/3)), which is near e^o, and within e^−3 and e^3: beyond, such a density has poles
    or tails that leave no digits.
    """

    example = "--dataset file --dataset.path PATH"
    law: ClassVar[Any]
    arguments: ClassVar[tuple[str, ...]]
    shapes: ClassVar[tuple[str, ...]] = ()
    within: ClassVar[constraints.Constraint | None] = None  # in place of the law's own support

    def __init__(self, data_shape: Shape) -> None:
        super().__init__(data_shape)
        self.support = self.law.support if self.within is None else self.within
        if len(self.arguments) > 1:
            self.output_shape = (len(self.arguments), *self.data_shape)

    def forward(self, output: Tensor) -> Distribution:
        each = (output,)
        if len(self.arguments) > 1:
            each = output.unbind(-len(self.output_shape))
        given = {name: self._put(name, o) for name, o in zip(self.arguments, each, strict=True)}
        law = self.made(**given)
        return Independent(law, len(self.data_shape), validate_args=False)

    def made(self, **arguments: Tensor) -> Distribution:
        """Return the law of each value."""
        law: Distribution = self.law(**arguments, validate_args=False)
        return law

    def _put(self, name: str, o: Tensor) -> Tensor:
        """Return an argument from a number of the decoder."""
        if name in self.shapes:
            return torch.exp(_REACH * torch.tanh(o / _REACH))
        known = self.law.arg_constraints.get(name, constraints.positive)  # such as a mean
        return _MAPS[known](o)


_MAPS: dict[constraints.Constraint, Callable[[Tensor], Tensor]] = {
    constraints.real: lambda o: o,
    constraints.positive: lambda o: softplus(o) + _LEAST,
    constraints.nonnegative: lambda o: softplus(o) + _LEAST,
}


class Open(constraints.Constraint):
    """The numbers between two bounds, without these.

    Arguments:
        lower_bound, upper_bound: the bounds.
    """

    def __init__(self, lower_bound: float, upper_bound: float) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return True for each value strictly between the bounds."""
        return (self.lower_bound < value) & (value < self.upper_bound)

    def __str__(self) -> str:
        return f"({self.lower_bound:g}, {self.upper_bound:g})"


class LongWeibull(dist.Weibull):
    """A Weibull law whose score stays a number far beyond its tail, where (x/λ)^k overflows."""

    def log_prob(self, value: Tensor) -> Tensor:
        k, times = self.concentration, value.log() - self.scale.log()
        hazard = k.log() - self.scale.log() + (k - 1) * times
        return hazard - torch.exp((k * times).clamp(max=_LONGEST))


__all__ = ["Law", "LongWeibull", "Open", "dist"]
