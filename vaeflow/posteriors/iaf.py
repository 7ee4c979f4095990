"""The inverse autoregressive flow posterior."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.components import Posterior
from vaeflow.distributions import Flow
from vaeflow.maps.autoregressive import AutoregressiveMap
from vaeflow.maps.univariate import Gate
from vaeflow.nn import MADE, Activation, AmortizeContext, GaussianHead, Init


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
        self.nets = nn.ModuleList(
            MADE(latent, context, width=width, depth=depth, outputs=2, act=activation)
            for _ in range(steps)
        )

    def forward(self, h: Tensor) -> Distribution:  # noqa: D102
        base = self.head(h)
        maps = [IAFMap(net, h, reverse=i > 0) for i, net in enumerate(self.nets)]
        return Flow(base, maps)


class IAFMap(AutoregressiveMap):
    """One gated autoregressive map for the features h (B, F): L passes of the network to undo.

    Arguments:
        net: emits the means and the gates, (*, 2L).
        h: (B, F), or None for a network without context.
        reverse: reverse the order of the dimensions first.
    """

    def __init__(self, net: nn.Module, h: Tensor | None, *, reverse: bool) -> None:
        assert isinstance(net, MADE)
        super().__init__(net, Gate(), h)
        self.reverse = reverse

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        return super().__call__(z.flip(-1) if self.reverse else z)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map, exactly, in L passes; log|det| (*, B) is still that of the map."""
        z, log_det = super().inverse(z)
        return z.flip(-1) if self.reverse else z, log_det
