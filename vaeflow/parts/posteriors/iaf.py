"""The inverse autoregressive flow posterior."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions.flow import Flow
from vaeflow.maps.autoregressive import AutoregressiveMap
from vaeflow.maps.univariate import Gate
from vaeflow.nn.heads import AmortizeContext, GaussianHead
from vaeflow.nn.masked import MADE, Hidden
from vaeflow.nn.mlp import Activation, Init
from vaeflow.parts.abstract import Posterior


class IAF(Posterior):
    r"""A diagonal Gaussian pushed through gated autoregressive maps, with the features as context.

    .. math:: z_t = σ_t ⊙ z_{t-1} + (1 - σ_t) ⊙ m_t, \quad
        (m_t, s_t) = \mathrm{MADE}_t(z_{t-1}, h), \quad σ_t = \mathrm{sigmoid}(s_t + 2)

    The Jacobian is triangular, log|det| = Σ log σ_t. The order of the latent dimensions is
    reversed between steps; the shift of the gate lets each step start near the identity (Kingma et
    al. 2016, algorithm 1 and section 4). A draw takes one pass of each network; scoring any other z
    takes a pass for each latent dimension.

    Options:
        steps: number of autoregressive maps.
        width: hidden units of each masked network.
        depth: hidden layers of each masked network.
        activation: nonlinearity of the masked networks.
        amortize: "context" lets the features enter each network, "none" shares the maps.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 4,
        width: PositiveInt = 320,
        depth: PositiveInt = 1,
        activation: Activation = "elu",
        amortize: AmortizeContext = "context",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.head = GaussianHead(latent, features, init)
        context = features if amortize == "context" else 0
        hidden = Hidden(width, depth, activation)
        self.nets = nn.ModuleList(MADE(latent, context, hidden, outputs=2) for _ in range(steps))

    def forward(self, h: Tensor) -> Distribution:
        base = self.head(h)
        nets = cast("Iterable[MADE]", self.nets)  # a ModuleList forgets of which class they are
        maps = [AutoregressiveMap(net, Gate(), h, flip=i > 0) for i, net in enumerate(nets)]
        return Flow(base, maps)
