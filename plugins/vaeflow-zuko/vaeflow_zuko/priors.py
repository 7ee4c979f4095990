"""The families as priors: any z is scored in one pass of the networks.

Shapes: L latent size. Each class has its family's options and docstring.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution

from vaeflow.distributions import DiagonalNormal, StandardizedFlow
from vaeflow.parts import Infer, Prior, Shape
from vaeflow_zuko import families
from vaeflow_zuko.flows import ZukoMap


class FlowPrior(families.Family, Prior):
    """ε = T((z − μ)/σ) ~ N(0, I): the autoregressive direction, so that a score is one pass.

    μ and σ are learned; p(z) starts as N(0, I).
    """

    def __init__(self, latent: int, data_shape: Shape) -> None:
        Prior.__init__(self, latent, data_shape)
        self.context = 0
        self.loc = nn.Parameter(torch.zeros(latent))
        self.log_variance = nn.Parameter(torch.zeros(latent))

    def forward(self, infer: Infer) -> Distribution:
        base = DiagonalNormal(self.loc, self.log_variance)
        maps = [ZukoMap(t, inverted=True) for t in reversed(self.transforms)]
        return StandardizedFlow(base, maps)


class MAF(families.MAF, FlowPrior):  # noqa: D101
    __doc__ = families.MAF.__doc__


class RealNVP(families.RealNVP, FlowPrior):  # noqa: D101
    __doc__ = families.RealNVP.__doc__


class NSF(families.NSF, FlowPrior):  # noqa: D101
    __doc__ = families.NSF.__doc__


class BPF(families.BPF, FlowPrior):  # noqa: D101
    __doc__ = families.BPF.__doc__


class NAF(families.NAF, FlowPrior):  # noqa: D101
    __doc__ = families.NAF.__doc__


class UNAF(families.UNAF, FlowPrior):  # noqa: D101
    __doc__ = families.UNAF.__doc__


class CNF(families.CNF, FlowPrior):  # noqa: D101
    __doc__ = families.CNF.__doc__
