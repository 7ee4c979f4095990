"""The normalizing-flow prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import nn
from torch.distributions import Distribution

from vaeflow.distributions.flow import StandardizedFlow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.maps.spline import Spline
from vaeflow.maps.stack import Backwards, Form, Stack
from vaeflow.maps.univariate import Affine, Univariate
from vaeflow.nn.masked import Hidden
from vaeflow.nn.mlp import Activation
from vaeflow.parts.abstract import Infer, Prior, Shape

Transform = Literal["affine", "spline"]


class FlowPrior(Prior):
    r"""A learned flow: z = μ + σ ⊙ u, and maps that take u to standard normal noise.

    .. math:: \log p(z) = \log N(g(u); 0, I) + \log|\det ∂g/∂u| - \sum_i \log σ_i, \quad
        u = (z - μ)/σ, \quad g = g_T ∘ … ∘ g_1

    Each g_t is an affine coupling (RealNVP, Dinh et al. 2017), an affine autoregressive map (MAF,
    Papamakarios et al. 2017), or the same with rational-quadratic splines (Durkan et al. 2019). A
    density takes one pass in either form; a draw takes a pass for each latent dimension in the
    autoregressive one. It starts as N(0, I).

    Options:
        form: "coupling" or "autoregressive".
        transform: the function that moves each dimension, "affine" or "spline".
        steps: number of maps.
        width: hidden units of each layer of the networks.
        depth: hidden layers of each network.
        activation: nonlinearity of the networks.
        bins: pieces of each spline, at least 2.
    """

    def __init__(
        self,
        latent: int,
        data_shape: Shape,
        *,
        form: Form = "autoregressive",
        transform: Transform = "affine",
        steps: NonNegativeInt = 4,
        width: PositiveInt = 128,
        depth: PositiveInt = 1,
        activation: Activation = "elu",
        bins: Annotated[int, Field(ge=2)] = 8,
    ) -> None:
        super().__init__(latent, data_shape)
        self.loc = nn.Parameter(torch.zeros(latent))
        self.log_variance = nn.Parameter(torch.zeros(latent))
        univariates: dict[Transform, Callable[[], Univariate]] = {
            "affine": Affine,
            "spline": lambda: Spline(bins),
        }
        self.flow = Stack(
            latent,
            0,
            univariates[transform](),
            Hidden(width, depth, activation),
            form=form,
            steps=steps,
        )

    def forward(self, infer: Infer) -> Distribution:
        base = DiagonalNormal(self.loc, self.log_variance)
        # The maps run from z to the noise, as training scores draws of q in every step.
        return StandardizedFlow(base, [Backwards(g) for g in reversed(self.flow())])
