"""The Householder-flow posterior."""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.flow import Flow
from vaeflow.maps.householder import Reflections
from vaeflow.nn.heads import Amortize, FlowParameters, GaussianHead
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior


class Householder(Posterior):
    r"""A diagonal Gaussian turned by reflections: a Gaussian whose axes are not those of z.

    .. math:: z_t = z_{t-1} - 2 v_t \frac{v_t·z_{t-1}}{‖v_t‖^2}

    A product of L reflections can be any orthogonal matrix, and log|det| = 0 (Tomczak & Welling
    2016). Every v_t is linear in the features; in the paper each is linear in the one before. They
    start in equal pairs, so that an even number of steps starts as the diagonal Gaussian.

    Options:
        steps: number of reflections.
        amortize: "full" lets the features of each image emit its vectors, "none" shares them.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 10,
        amortize: Amortize = "full",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.steps = steps
        self.head = GaussianHead(latent, features, init)
        if steps:
            self.flow = FlowParameters(features, steps * latent, amortize)
            pairs = torch.randn(-(-steps // 2), 1, latent).expand(-1, 2, -1)
            self.flow.start_at(pairs.flatten(0, 1)[:steps].flatten())

    def forward(self, h: Tensor) -> Distribution:
        base = self.head(h)
        if not self.steps:
            return Flow(base, [])
        return Flow(base, [Reflections(self.flow(h).unflatten(-1, (self.steps, self.latent)))])
