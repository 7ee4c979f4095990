"""The constructor that the coupling and the spline flow share."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.flow import StandardizedFlow
from vaeflow.maps.stack import Form, Stack
from vaeflow.maps.univariate import Univariate
from vaeflow.nn.heads import AmortizeContext, GaussianHead
from vaeflow.nn.masked import Hidden
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior


class StackedFlow(Posterior):
    """A diagonal Gaussian whose noise is bent by a stack of maps: z = μ + σ ⊙ (f_T ∘ … ∘ f_1)(ε).

    Arguments:
        latent: L.
        features: F.
        univariate: the family of functions that the maps apply to each dimension.
        hidden: the hidden layers of the maps' networks.
        form: whether half of the dimensions or all dimensions before tell how one moves.
        steps: T.
        amortize: "context" lets the features enter each network, "none" shares the maps.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        univariate: Univariate,
        hidden: Hidden,
        *,
        form: Form,
        steps: int,
        amortize: AmortizeContext,
        init: Init,
    ) -> None:
        super().__init__(latent, features)
        self.head = GaussianHead(latent, features, init)
        context = features if amortize == "context" else 0
        self.flow = Stack(latent, context, univariate, hidden, form=form, steps=steps)

    def forward(self, h: Tensor) -> Distribution:
        return StandardizedFlow(self.head(h), self.flow(h))
