"""The families as posteriors: noise is transformed in one pass, then scaled by the Gaussian head.

Shapes: B batch, F features, L latent size. Each class has its family's options and docstring.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions import DiagonalNormal, StandardizedFlow, at_least_float32
from vaeflow.parts import Posterior
from vaeflow_zuko import families
from vaeflow_zuko.flows import ZukoMap


class FlowPosterior(families.Family, Posterior):
    """z = μ(h) + σ(h)·T(ε; h): the inverse autoregressive direction, so that a draw is one pass."""

    def __init__(self, latent: int, features: int) -> None:
        Posterior.__init__(self, latent, features)
        self.context = features
        self.head = nn.Linear(features, 2 * latent)

    def forward(self, h: Tensor) -> Distribution:
        base = DiagonalNormal(*self.head(h).chunk(2, dim=-1))
        # Adam changes each of F weights by about lr per step; 1/√F bounds the change of their sum.
        context = at_least_float32(h) * self.features**-0.5
        return StandardizedFlow(base, [ZukoMap(t, context) for t in self.transforms])


class MAF(families.MAF, FlowPosterior):  # noqa: D101
    __doc__ = families.MAF.__doc__


class RealNVP(families.RealNVP, FlowPosterior):  # noqa: D101
    __doc__ = families.RealNVP.__doc__


class NSF(families.NSF, FlowPosterior):  # noqa: D101
    __doc__ = families.NSF.__doc__


class BPF(families.BPF, FlowPosterior):  # noqa: D101
    __doc__ = families.BPF.__doc__


class NAF(families.NAF, FlowPosterior):  # noqa: D101
    __doc__ = families.NAF.__doc__


class UNAF(families.UNAF, FlowPosterior):  # noqa: D101
    __doc__ = families.UNAF.__doc__


class CNF(families.CNF, FlowPosterior):  # noqa: D101
    __doc__ = families.CNF.__doc__
