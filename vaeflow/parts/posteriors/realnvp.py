"""The affine coupling flow posterior."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from vaeflow.maps.univariate import Affine
from vaeflow.nn.heads import AmortizeContext
from vaeflow.nn.masked import Hidden
from vaeflow.nn.mlp import Activation, Init
from vaeflow.parts.posteriors.stacked import StackedFlow


class RealNVP(StackedFlow):
    r"""A diagonal Gaussian whose noise is bent by affine coupling maps, the features as context.

    .. math::
        z = μ + σ ⊙ (f_T ∘ … ∘ f_1)(ε), \quad
        f(u_a, u_b) = (u_a ⊙ e^{s(u_b, h)} + t(u_b, h),\ u_b)

    Dinh et al. 2017, eqs. 7-8. The halves a and b change places between steps; log|det| = Σ s, and
    |s| < 3. The maps start as the identity. Both directions take one pass, so that q(z|x) is known
    for any z.

    Options:
        steps: number of coupling maps, each of which moves half of the latent dimensions.
        width: hidden units of each layer of the coupling networks.
        depth: hidden layers of each coupling network.
        activation: nonlinearity of the coupling networks.
        amortize: "context" lets the features enter each network, "none" shares the maps.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 4,
        width: PositiveInt = 128,
        depth: PositiveInt = 1,
        activation: Activation = "elu",
        amortize: AmortizeContext = "context",
        init: Init = "torch",
    ) -> None:
        super().__init__(
            latent,
            features,
            Affine(),
            Hidden(width, depth, activation),
            form="coupling",
            steps=steps,
            amortize=amortize,
            init=init,
        )
