"""The radial-flow posterior."""

from __future__ import annotations

import math

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.flow import Flow, Map
from vaeflow.maps.radial import RadialMap
from vaeflow.nn.heads import Amortize, FlowParameters, GaussianHead
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior


class Radial(Posterior):
    r"""A diagonal Gaussian pushed through radial maps, which swell or shrink around a centre.

    .. math::
        f(z) = z + \hat β\, h(α, r)\, (z - c), \quad h = 1/(α + r), \quad r = ‖z - c‖, \quad
        \hat β = -α + \mathrm{softplus}(β)

    Rezende & Mohamed 2015, eq. 14 and appendix A.2: β̂ > −α keeps each map invertible, and α > 0 is
    a softplus as well.

    Options:
        steps: number of radial maps.
        amortize: "full" lets the features of each image emit the maps, "none" shares them.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 16,
        amortize: Amortize = "full",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.steps = steps
        self.head = GaussianHead(latent, features, init)
        if steps:
            self.flow = FlowParameters(features, steps * (latent + 2), amortize)
            # The identity, around random centres: α = 1 and β̂ = 0, as softplus(log(e − 1)) = 1.
            start = torch.full((steps, latent + 2), math.log(math.e - 1))
            start[:, :latent].normal_()
            self.flow.start_at(start.flatten())

    def forward(self, h: Tensor) -> Distribution:
        base = self.head(h)
        if not self.steps:
            return Flow(base, [])
        each = self.flow(h).unflatten(-1, (self.steps, self.latent + 2)).unbind(-2)
        maps: list[Map] = [RadialMap(p[..., :-2], p[..., -2], p[..., -1]) for p in each]
        return Flow(base, maps)
