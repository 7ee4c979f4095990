"""Missing values of a program's observed sites: NaN is summed over where it can be, else left out.

Shapes: any batch; densities are in nats.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import constraints

from vaeflow.distributions.observed import log_prob_of_each


class GapMessenger(Messenger):  # type: ignore[misc]
    """Makes a site that is observed as NaN an unobserved one.

    A site of finitely many values is summed over, so that other sites may depend on it. Any other
    leaves the score of a missing value out, which is its marginal where no site depends on it; one
    that does is NaN, and so is the score of the example.
    """

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] or not isinstance(msg["fn"], TorchDistributionMixin):
            return
        if msg["fn"].has_enumerate_support:
            msg["fn"] = Known(msg["fn"], msg["value"])
            msg["is_observed"], msg["value"] = False, None
        else:
            msg["fn"] = Gaps(msg["fn"])


class _Wrapped(TorchDistribution):  # type: ignore[misc]
    """A law that scores otherwise."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)

    def __init__(self, law: Any) -> None:
        super().__init__(law.batch_shape, law.event_shape, validate_args=False)
        self.law = law


class Known(_Wrapped):
    """A law of finitely many values, of which only the observed one is possible where there is one.

    Arguments:
        law: may be enumerated.
        value: (*, *event_shape), NaN where the value is missing.
    """

    has_enumerate_support = True

    def __init__(self, law: Any, value: Tensor) -> None:
        super().__init__(law)
        self.value = value

    def enumerate_support(self, expand: bool = True) -> Tensor:
        support: Tensor = self.law.enumerate_support(expand=expand)
        return support

    def log_prob(self, value: Tensor) -> Tensor:
        possible = self.value.isnan() | (value == self.value)
        if self.event_dim:
            possible = possible.flatten(-self.event_dim).all(-1)
        log_prob: Tensor = self.law.log_prob(value)
        return log_prob + torch.where(possible, 0.0, -torch.inf)


class Gaps(_Wrapped):
    """A law that scores what was observed of a value."""

    def log_prob(self, value: Tensor) -> Tensor:
        missing = value.isnan()
        axes = tuple(range(-self.event_dim, 0))
        each = log_prob_of_each(self.law, value)
        if each is not None:
            scores = torch.where(missing, 0.0, each)
            return scores.sum(axes) if axes else scores
        gone = missing.flatten(-self.event_dim).all(-1)
        filled = torch.where(gone.reshape(*gone.shape, *[1] * self.event_dim), 0.0, value)
        return torch.where(gone, 0.0, self.law.log_prob(filled))
