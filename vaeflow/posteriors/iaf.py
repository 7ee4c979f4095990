"""The inverse autoregressive flow posterior."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.components import Posterior
from vaeflow.distributions import DiagonalNormal, Flow, at_least_float32
from vaeflow.nn import MADE, Activation, Init, initialize


class IAF(Posterior):
    r"""A diagonal Gaussian pushed through gated autoregressive maps, with the features as context.

    .. math:: z_t = σ_t ⊙ z_{t-1} + (1 - σ_t) ⊙ m_t, \quad
        (m_t, s_t) = \mathrm{MADE}_t(z_{t-1}, h), \quad σ_t = \mathrm{sigmoid}(s_t + 2)

    The Jacobian is triangular, log|det| = Σ log σ_t. The order of the latent dimensions is
    reversed between steps; the shift of the gate lets each step start near the identity (Kingma et
    al. 2016, algorithm 1 and section 4).

    Options:
        steps: number of autoregressive maps.
        width: hidden units of each masked network.
        depth: hidden layers of each masked network.
        activation: nonlinearity of the masked networks.
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
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        initialize(self.head, init)
        self.nets = nn.ModuleList(
            MADE(latent, features, width=width, depth=depth, outputs=2, act=activation)
            for _ in range(steps)
        )

    def forward(self, h: Tensor) -> Distribution:  # noqa: D102
        base = DiagonalNormal(*self.head(h).chunk(2, dim=-1))
        maps = [IAFMap(net, h, reverse=i > 0) for i, net in enumerate(self.nets)]
        return Flow(base, maps)


class IAFMap:
    """One gated autoregressive map for the features h (B, F)."""

    def __init__(self, net: nn.Module, h: Tensor, *, reverse: bool) -> None:
        assert isinstance(net, MADE)
        self.net = net
        # Once per image, whatever the number of samples.
        self.context: Tensor = net.context(h)
        self.reverse = reverse

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        if self.reverse:
            z = z.flip(-1)
        mean, s = at_least_float32(self.net(z, self.context)).chunk(2, dim=-1)
        gate = torch.sigmoid(s + 2)
        # gate·z + (1 − gate)·mean
        return torch.lerp(mean, z, gate), F.logsigmoid(s + 2).sum(-1)
