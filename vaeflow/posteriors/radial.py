"""The radial-flow posterior."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.components import Posterior
from vaeflow.distributions import Flow, Map
from vaeflow.nn import Amortize, FlowParameters, GaussianHead, Init


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

    def forward(self, h: Tensor) -> Distribution:  # noqa: D102
        base = self.head(h)
        if not self.steps:
            return Flow(base, [])
        each = self.flow(h).unflatten(-1, (self.steps, self.latent + 2)).unbind(-2)
        maps: list[Map] = [RadialMap(p[..., :-2], p[..., -2], p[..., -1]) for p in each]
        return Flow(base, maps)


class RadialMap:
    r"""One radial map, in the terms of s = α + β̂ = softplus(β).

    .. math::
        f(z) = c + v\,(z - c), \quad v = \frac{r + s}{r + α}, \quad
        \log|\det| = (L - 1) \log v + \log\frac{r + α v}{r + α}

    Every sum is of positive numbers: 1 + β̂h and 1 + β̂h + β̂h'r of eq. 14 lose digits as β̂ → −α.

    Arguments:
        centre: (B, L).
        a: (B), α before its softplus.
        b: (B), β.
    """

    def __init__(self, centre: Tensor, a: Tensor, b: Tensor) -> None:
        # No softplus may underflow to 0, as 0/0 would follow at the centre.
        tiny = torch.finfo(centre.dtype).tiny
        self.centre = centre
        self.alpha = F.softplus(a, threshold=40) + tiny
        self.s = F.softplus(b, threshold=40) + tiny

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        away = z - self.centre
        r = torch.linalg.vector_norm(away, dim=-1)
        v = (r + self.s) / (r + self.alpha)
        return self.centre + v[..., None] * away, self._log_det(r, v, z.shape[-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map: r is the positive root of r² + (s − R)r − αR = 0, R = ‖z − c‖."""
        away = z - self.centre
        far = torch.linalg.vector_norm(away, dim=-1)
        half = 0.5 * (far - self.s)
        root = torch.sqrt(half * half + self.alpha * far)
        # Of the two forms of the root, the one that subtracts nothing.
        r = torch.where(half > 0, half + root, self.alpha * far / (half.abs() + root))
        v = (r + self.s) / (r + self.alpha)
        return self.centre + away / v[..., None], self._log_det(r, v, z.shape[-1])

    def _log_det(self, r: Tensor, v: Tensor, latent: int) -> Tensor:
        total = r + self.alpha
        return (latent - 1) * v.log() + (r / total + self.alpha / total * v).log()
