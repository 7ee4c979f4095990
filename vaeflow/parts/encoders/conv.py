"""The convolutional encoder."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import PositiveInt
from torch import nn

from vaeflow.nn.convolutions import Channels, Dimensions, convolution, halvings
from vaeflow.nn.mlp import Activation, Init, initialize, mlp
from vaeflow.nn.mlp import activation as nonlinearity
from vaeflow.parts.abstract import Shape
from vaeflow.parts.encoders.images import ImageEncoder


class Conv(ImageEncoder):
    """Convolutions of stride 2, each halving the image, and a fully connected layer of features.

    Options:
        channels: channels after each convolution.
        kernel: side of the convolutions' kernels, odd and at least 3.
        hidden: F, the units of the fully connected layer.
        activation: nonlinearity after each layer.
        init: how the weights are drawn.
    """

    def __init__(
        self,
        data_shape: Shape,
        *,
        channels: Channels = (32, 64),
        kernel: PositiveInt = 3,
        hidden: PositiveInt = 256,
        activation: Activation = "relu",
        init: Init = "torch",
        dimensions: Dimensions | None = None,
    ) -> None:
        super().__init__(data_shape, dimensions)
        self.features = hidden
        self.layers = nn.Sequential()
        for n_in, n_out in pairwise((self.channels, *channels)):
            self.layers.append(
                convolution(n_in, n_out, kernel, stride=2, dimensions=self.dimensions)
            )
            self.layers.append(nonlinearity(activation))
        whole = channels[-1] * prod(halvings(self.size, len(channels))[-1])
        self.layers.append(nn.Flatten())
        self.layers.extend(mlp((whole, hidden), activation, last=True))
        initialize(self.layers, init)
