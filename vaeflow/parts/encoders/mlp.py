"""The multi-layer perceptron encoder."""

from __future__ import annotations

from math import prod

from pydantic import PositiveInt
from torch import Tensor

from vaeflow.nn.mlp import Activation, Init, initialize, mlp
from vaeflow.parts.abstract import Encoder, Shape


class MLP(Encoder):
    """Fully connected layers over the flattened data; the last hidden layer is the features.

    Options:
        hidden: sizes of the hidden layers; none makes the data itself the features.
        activation: nonlinearity after each layer.
        init: how the weights are drawn.
    """

    def __init__(
        self,
        data_shape: Shape,
        *,
        hidden: tuple[PositiveInt, ...] = (500, 500),
        activation: Activation = "relu",
        init: Init = "torch",
    ) -> None:
        super().__init__(data_shape)
        sizes = (prod(data_shape), *hidden)
        self.features = sizes[-1]
        self.layers = mlp(sizes, activation, last=True)
        initialize(self.layers, init)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers(x.flatten(1))
        return h
