"""The diagonal Gaussian posterior: the flow of no maps."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from vaeflow.nn.heads import GaussianHead
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior


class Identity(Posterior):
    r"""q(z|x) = N(μ(h), diag(σ²(h))), mean and log-variance linear in the features.

    Kingma & Welling 2014, eq. 9.

    Options:
        init: how the weights of the linear head are drawn.
    """

    def __init__(self, latent: int, features: int, *, init: Init = "torch") -> None:
        super().__init__(latent, features)
        self.head = GaussianHead(latent, features, init)

    def forward(self, h: Tensor) -> Distribution:
        q: Distribution = self.head(h)
        return q
