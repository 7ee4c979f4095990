"""The neural spline flow posterior."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from vaeflow.maps.spline import Spline as RationalQuadratic
from vaeflow.maps.stack import Form
from vaeflow.nn.heads import AmortizeContext
from vaeflow.nn.masked import Hidden
from vaeflow.nn.mlp import Activation, Init
from vaeflow.parts.posteriors.stacked import StackedFlow


class Spline(StackedFlow):
    r"""A diagonal Gaussian whose noise is bent by rational-quadratic splines.

    .. math::
        z = μ + σ ⊙ (f_T ∘ … ∘ f_1)(ε), \quad f(u)_i = \mathrm{spline}(u_i; θ_i), \quad
        \log|\det| = \sum_i \log \mathrm{spline}'(u_i; θ_i)

    The knots θ_i are functions of the features and of other dimensions: of the half that a map does
    not move, or of all dimensions before i (Durkan et al. 2019, section 3). The order of the
    dimensions is reversed between steps. The maps start as the identity; outside the box they
    always are.

    Options:
        steps: number of maps.
        bins: pieces of each spline, at least 2.
        bound: the splines bend standardized values in [−bound, bound].
        form: "coupling" bends half of the dimensions by the other half, and its inverse takes one
            pass; "autoregressive" bends each by all dimensions before it, and to score a z that is
            not its own draw takes a pass for each latent dimension.
        width: hidden units of each layer of the networks.
        depth: hidden layers of each network.
        activation: nonlinearity of the networks.
        amortize: "context" lets the features enter each network, "none" shares the maps.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 4,
        bins: Annotated[int, Field(ge=2)] = 8,
        bound: PositiveFloat = 5.0,
        form: Form = "coupling",
        width: PositiveInt = 128,
        depth: PositiveInt = 1,
        activation: Activation = "elu",
        amortize: AmortizeContext = "context",
        init: Init = "torch",
    ) -> None:
        super().__init__(
            latent,
            features,
            RationalQuadratic(bins, bound),
            Hidden(width, depth, activation),
            form=form,
            steps=steps,
            amortize=amortize,
            init=init,
        )
