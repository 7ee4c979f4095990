"""The Gaussian-mixture posterior."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.mixture import DiagonalNormalMixture
from vaeflow.nn.heads import Amortize, FlowParameters, GaussianHead
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior

_SPREAD = 0.3  # of the means at the start: apart enough to differ, and nearly one Gaussian


class Mixture(Posterior):
    r"""A mixture of C diagonal Gaussians, which can be in several places at once.

    .. math:: q(z|x) = \sum_c π_c\, N(m + σ ⊙ d_c,\; \mathrm{diag}(σ^2 e^{v_c}))

    The Gaussian's mean and scale, m and σ, are linear in the features; the weights π_c, the offsets
    d_c and the log-variances v_c are counted from it. Draws have implicit derivatives (Figurnov et
    al. 2018), so that every objective can train it.

    Options:
        components: C.
        amortize: "full" lets the features of each image emit weights, offsets and log-variances,
            "none" shares them.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        components: PositiveInt = 4,
        amortize: Amortize = "full",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.sizes = (components, components * latent, components * latent)
        self.head = GaussianHead(latent, features, init)
        self.mixture = FlowParameters(features, sum(self.sizes), amortize)
        offset = _SPREAD * torch.randn(components, latent)
        start = torch.zeros(sum(self.sizes))
        start[components : components * (latent + 1)] = (offset - offset.mean(0)).flatten()
        self.mixture.start_at(start)

    def forward(self, h: Tensor) -> Distribution:
        base = self.head(h)
        loc, log_scale = base.loc[..., None, :], base.log_scale[..., None, :]
        logits, offset, narrowing = self.mixture(h).split(self.sizes, dim=-1)
        offset, narrowing = (x.unflatten(-1, (-1, self.latent)) for x in (offset, narrowing))
        loc = loc + log_scale.exp() * offset
        return DiagonalNormalMixture(logits, loc, 2 * log_scale + narrowing)
