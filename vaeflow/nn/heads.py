"""The last layer of a posterior: features to a Gaussian and to the parameters of maps."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.nn.mlp import Init, initialize

Amortize = Literal["full", "none"]
AmortizeContext = Literal["context", "none"]


class GaussianHead(nn.Linear):
    """q(z|x) = N(μ(h), diag σ²(h)) for features h (B, F): mean and log-variance linear in them.

    Most posteriors build on it. Its state is that of a linear layer of 2L outputs.

    Arguments:
        latent: L.
        features: F.
        init: how the weights are drawn.
    """

    def __init__(self, latent: int, features: int, init: Init = "torch") -> None:
        super().__init__(features, 2 * latent)
        initialize(self, init)

    def forward(self, h: Tensor) -> DiagonalNormal:  # type: ignore[override]
        return DiagonalNormal(*super().forward(h).chunk(2, dim=-1))


class FlowParameters(nn.Module):
    """The parameters of a flow for features h (B, F): (B, size), 0 for every image at the start.

    Arguments:
        features: F.
        size: numbers per image.
        amortize: "full" is linear in h; "none" is one learned vector for all images.
    """

    def __init__(self, features: int, size: int, amortize: Amortize = "full") -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))
        full = amortize == "full"
        self.weight = nn.Parameter(torch.zeros(size, features)) if full else None

    @torch.no_grad()
    def start_at(self, value: Tensor) -> None:
        """Start at `value` (size), the same for every image."""
        self.bias.copy_(value)

    def forward(self, h: Tensor) -> Tensor:
        if self.weight is None:
            return at_least_float32(self.bias).expand(*h.shape[:-1], -1)
        # Adam changes each weight by about lr per step, so that a sum over F features moves by up
        # to F·lr, too far for a flow. The factor 1/√F bounds that.
        return at_least_float32(F.linear(h * h.shape[-1] ** -0.5, self.weight, self.bias))
