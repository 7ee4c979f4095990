"""A decoder that is linear in z, plus one hidden layer.

Shapes: K samples, B batch, L latent size, output_shape the shape that the likelihood asks for.
"""

from __future__ import annotations

from math import prod

from pydantic import NonNegativeInt
from torch import Tensor, nn
from vaeflow.parts import Decoder, Shape


class MyPart(Decoder):
    r"""Factor analysis with a correction, the sum of a linear map and a hidden layer.

    .. math:: \mathrm{output} = W z + b + V \tanh(U z + c)

    W alone, under a Gaussian likelihood, is probabilistic PCA (Tipping & Bishop 1999). It reaches
    the output past the hidden layer, which keeps z in use (skip connections, Dieng et al. 2019).

    Options:
        hidden: units of the hidden layer; 0 leaves factor analysis.
    """

    def __init__(self, latent: int, output_shape: Shape, *, hidden: NonNegativeInt = 256) -> None:
        super().__init__(latent, output_shape)
        outputs = prod(output_shape)
        self.linear = nn.Linear(latent, outputs)
        self.correction = (
            nn.Sequential(
                nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, outputs, bias=False)
            )
            if hidden
            else None
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map z (K, B, L) to (K, B, *output_shape)."""
        output: Tensor = self.linear(z)
        if self.correction is not None:
            output = output + self.correction(z)
        return output.reshape(*z.shape[:-1], *self.output_shape)
