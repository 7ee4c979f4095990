"""The planar-flow posterior."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.flow import Flow
from vaeflow.maps.planar import PlanarMaps
from vaeflow.nn.heads import Amortize, FlowParameters, GaussianHead
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior


class Planar(Posterior):
    r"""A diagonal Gaussian pushed through planar maps, each a bend along one direction.

    .. math::
        f_t(z) = z + \hat u_t \tanh(w_t·z + b_t), \quad
        \hat u = u + (\mathrm{softplus}(w·u) - 1 - w·u)\, w / ‖w‖^2

    Rezende & Mohamed 2015, eqs. 10-12 and appendix A.1: w·û > −1 keeps each map invertible. The
    inverse has no formula: log q of a z that is not a draw takes a root per map.

    Options:
        steps: number of planar maps.
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
            self.flow = FlowParameters(features, steps * (2 * latent + 1), amortize)
            # The identity, in random directions: û = 0 where u = log(e − 1)·w and ‖w‖ = 1, as
            # softplus(log(e − 1)) = 1.
            w = F.normalize(torch.randn(steps, latent), dim=-1)
            u = math.log(math.e - 1) * w
            self.flow.start_at(torch.cat([w.flatten(), u.flatten(), torch.zeros(steps)]))

    def maps(self, h: Tensor) -> PlanarMaps:
        """Return the maps of each image for features h (B, F)."""
        size = self.steps * self.latent
        w, u, b = self.flow(h).split([size, size, self.steps], dim=-1)
        shape = (self.steps, self.latent)
        return PlanarMaps(w.unflatten(-1, shape), u.unflatten(-1, shape), b)

    def forward(self, h: Tensor) -> Distribution:
        base = self.head(h)
        return Flow(base, [self.maps(h)] if self.steps else [])
