"""The density of what was observed of an example whose values are independent given z.

Shapes: K samples, B batch. Densities are in nats.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from vaeflow.errors import ConfigError


class ByValue(Protocol):
    """A distribution that tells the scores of its values apart, which `Independent` does by itself.

    `log_prob_of_each(x)` returns what each value of x (B, *event_shape) adds to log p(x), as
    (K, B, *event_shape). Where x is NaN, it returns any finite number, and its gradients are
    finite.
    """

    def log_prob_of_each(self, x: Tensor) -> Tensor: ...


def log_prob_of_observed(
    p: Distribution, x: Tensor, observed: Tensor, part: str = "the likelihood"
) -> Tensor:
    r"""Return the log-density of the observed values alone (K, B).

    .. math:: \log p(x_o) = \sum_{i \in o} \log p(x_i)

    It is the marginal of p where its values are independent; a distribution whose values are not
    may know it by a method `log_prob_of_observed(x)`, x (B, *event_shape) with NaN for what is
    missing. What a missing value holds, such as
    NaN, changes neither the score nor a gradient.

    Arguments:
        p: batch (K, B).
        x: (B, *event_shape).
        observed: which values are scored, truths (B, *event_shape).
        part: how messages call what made p.

    Raises:
        ConfigError: if p does not tell the scores of its values apart.
    """
    known = torch.where(observed, x, torch.nan)
    if hasattr(p, "log_prob_of_observed"):
        marginal: Tensor = p.log_prob_of_observed(known)
        return marginal
    each = log_prob_of_each(p, known)
    if each is None:
        raise ConfigError(
            f"missing values: {part} scores an example as a whole ({type(p).__name__}), but only "
            "one whose values are independent given z can leave some out; take another, such as "
            "--likelihood gaussian, or fill the gaps in the data before"
        )
    return torch.where(observed, each, 0.0).flatten(-len(p.event_shape)).sum(-1)


def log_prob_of_each(p: Distribution, x: Tensor) -> Tensor | None:
    """Return the score of each value; None where p has only one of them all."""
    if hasattr(p, "log_prob_of_each"):
        told: ByValue = p
        return told.log_prob_of_each(x)
    values = p
    while isinstance(values, Independent) and type(values).log_prob is Independent.log_prob:
        values = values.base_dist
    if values.event_shape:
        return None
    each: Tensor = values.log_prob(torch.where(x.isnan(), _harmless(values), x))
    return each


def _harmless(values: Distribution) -> Any:
    """Return a value within the support, away from its bounds, at which no gradient is infinite."""
    try:
        support: Any = values.support
        discrete = support.is_discrete
    except NotImplementedError:  # its class tells none, or no bound that does not depend on others
        support, discrete = constraints.real, False
    low, high = (getattr(support, f"{side}_bound", None) for side in ("lower", "upper"))
    if discrete:
        return 0.0 if low is None else low
    if low is not None:
        return low + 1.0 if high is None else (low + high) / 2
    return 0.0 if high is None else high - 1.0
