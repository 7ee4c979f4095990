"""The Householder-flow posterior."""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.components import Posterior
from vaeflow.distributions import Flow
from vaeflow.nn import Amortize, FlowParameters, GaussianHead, Init


class Householder(Posterior):
    r"""A diagonal Gaussian turned by reflections: a Gaussian whose axes are not those of z.

    .. math:: z_t = z_{t-1} - 2 v_t \frac{v_t·z_{t-1}}{‖v_t‖^2}

    A product of L reflections can be any orthogonal matrix, and log|det| = 0 (Tomczak & Welling
    2016). Every v_t is linear in the features, where the paper chains them, each linear
    in the last. They start in equal pairs, so that an even number of steps starts as the diagonal
    Gaussian.

    Options:
        steps: number of reflections.
        amortize: "full" lets the features of each image emit its vectors, "none" shares them.
        init: how the weights of the Gaussian's linear head are drawn.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        steps: NonNegativeInt = 10,
        amortize: Amortize = "full",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, features)
        self.steps = steps
        self.head = GaussianHead(latent, features, init)
        if steps:
            self.flow = FlowParameters(features, steps * latent, amortize)
            pairs = torch.randn(-(-steps // 2), 1, latent).expand(-1, 2, -1)
            self.flow.start_at(pairs.flatten(0, 1)[:steps].flatten())

    def forward(self, h: Tensor) -> Distribution:  # noqa: D102
        base = self.head(h)
        if not self.steps:
            return Flow(base, [])
        return Flow(base, [Reflections(self.flow(h).unflatten(-1, (self.steps, self.latent)))])


class Reflections:
    """A product of T reflections; a vector of length 0 leaves z as it is.

    Arguments:
        v: (B, T, L), of any length.
    """

    def __init__(self, v: Tensor) -> None:
        # The length is of no effect, but its square may leave the range of the numbers.
        largest = v.detach().abs().amax(-1, keepdim=True)
        v = v / torch.where(largest == 0, 1.0, largest)
        vv = (v * v).sum(-1, keepdim=True)
        v = v * torch.where(vv == 0, 1.0, vv).rsqrt()
        self.v = v.unbind(-2)  # T times (B, L), of length 1 or 0

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| = 0 (*, B)."""
        for v in self.v:
            z = _reflect(z, v)
        return z, z.new_zeros(z.shape[:-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map by the same reflections in reverse."""
        for v in reversed(self.v):
            z = _reflect(z, v)
        return z, z.new_zeros(z.shape[:-1])


def _reflect(z: Tensor, v: Tensor) -> Tensor:
    # Elementwise: autocast would round a matrix product.
    return z - 2 * (z * v).sum(-1, keepdim=True) * v
