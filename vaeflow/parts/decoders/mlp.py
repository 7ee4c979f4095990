"""The multi-layer perceptron decoder."""

from __future__ import annotations

from math import prod

import torch
from pydantic import PositiveInt
from torch import Tensor

from vaeflow.nn.mlp import Activation, Init, initialize, mlp
from vaeflow.parts.abstract import Decoder, Shape


class MLP(Decoder):
    """Fully connected layers from z to the likelihood's parameters; the last layer is linear.

    Options:
        hidden: sizes of the hidden layers.
        activation: nonlinearity after each hidden layer.
        init: how the weights are drawn.
    """

    def __init__(
        self,
        latent: int,
        output_shape: Shape,
        *,
        hidden: tuple[PositiveInt, ...] = (500, 500),
        activation: Activation = "relu",
        init: Init = "torch",
    ) -> None:
        super().__init__(latent, output_shape)
        self.layers = mlp((latent, *hidden, prod(output_shape)), activation, last=False)
        initialize(self.layers, init)

    def forward(self, z: Tensor) -> Tensor:
        # torch's linear layers are made for two dimensions: flattened once, not in each.
        output: Tensor = self.layers(z.flatten(0, -2))
        return output.view(*z.shape[:-1], *self.output_shape)

    @torch.no_grad()
    def start_at(self, output: Tensor) -> None:
        """Make `output` (*output_shape) the bias of the last layer."""
        self.layers[-1].get_parameter("bias").copy_(output.flatten())
