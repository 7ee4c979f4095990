"""A Gaussian posterior with skewness and heavy tails, by sinh-arcsinh maps of its noise.

Shapes: K samples, B batch, F features, L latent size, T steps.
"""

from __future__ import annotations

import math

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.distributions import Distribution
from vaeflow.distributions import DiagonalNormal, StandardizedFlow, at_least_float32
from vaeflow.parts import Posterior


class MyPart(Posterior):
    r"""A diagonal Gaussian whose noise passes through sinh-arcsinh maps.

    .. math::
        z = μ + σ f_T(… f_1(u)), \quad u \sim N(0, I), \quad
        f_t(u) = \frac{\sinh(δ_t \operatorname{asinh}(u) + ε_t) - \sinh ε_t}{δ_t \cosh ε_t}

    In each dimension, ε skews and δ > 1 makes the tails heavier (Jones & Pewsey 2009). The shift
    and the factor keep 0 and the slope there, so that μ and σ keep their meaning. The encoder emits
    μ, log σ², δ and ε; all T maps together stay within ½ < δ < 2 and |ε| < 1, far from overflow.

    Options:
        steps: number of maps; 0 leaves the Gaussian.
    """

    def __init__(self, latent: int, features: int, *, steps: NonNegativeInt = 2) -> None:
        super().__init__(latent, features)
        self.steps = steps
        self.head = nn.Linear(features, 2 * (1 + steps) * latent)
        with torch.no_grad():  # δ = 1 and ε = 0: every map starts as the identity
            self.head.weight[2 * latent :] = 0
            self.head.bias[2 * latent :] = 0

    def forward(self, h: Tensor) -> Distribution:
        """Map features h (B, F) to q(z|x), batch (B,), event (L,)."""
        # A density in bfloat16 is off by tenths of a nat.
        loc, log_variance, *raw = at_least_float32(self.head(h)).split(self.latent, dim=-1)
        bounded = [torch.tanh(r) / self.steps for r in raw]
        maps = [
            SinhArcsinh(torch.exp(math.log(2) * tail), skew)
            for tail, skew in zip(bounded[::2], bounded[1::2], strict=True)
        ]
        return StandardizedFlow(DiagonalNormal(loc, log_variance), maps)


class SinhArcsinh:
    """One map f with its log f', summed over the dimensions; δ and ε are (B, L)."""

    def __init__(self, delta: Tensor, epsilon: Tensor) -> None:
        self.delta, self.epsilon = delta, epsilon

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map u (*, B, L) to (*, B, L) and log|det| (*, B)."""
        a = self.delta * torch.asinh(u) + self.epsilon
        cosh = torch.cosh(self.epsilon)
        z = (torch.sinh(a) - torch.sinh(self.epsilon)) / (self.delta * cosh)
        return z, (torch.log(torch.cosh(a) / cosh) - 0.5 * torch.log1p(u * u)).sum(-1)
