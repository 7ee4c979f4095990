"""The convolutional decoder."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import PositiveInt
from torch import nn

from vaeflow.nn.convolutions import Channels, Dimensions, halvings, upconvolution
from vaeflow.nn.mlp import Activation, Init, initialize, mlp
from vaeflow.nn.mlp import activation as nonlinearity
from vaeflow.parts.abstract import Shape
from vaeflow.parts.decoders.images import ImageDecoder


class Conv(ImageDecoder):
    """Two fully connected layers and transposed convolutions of stride 2: `conv` turned around.

    Options:
        channels: channels before each transposed convolution, the finest first.
        kernel: side of the convolutions' kernels, odd and at least 3.
        hidden: units of the first fully connected layer.
        activation: nonlinearity after each layer but the last.
        init: how the weights are drawn.
    """

    def __init__(
        self,
        latent: int,
        output_shape: Shape,
        *,
        channels: Channels = (32, 64),
        kernel: PositiveInt = 3,
        hidden: PositiveInt = 256,
        activation: Activation = "relu",
        init: Init = "torch",
        dimensions: Dimensions | None = None,
    ) -> None:
        super().__init__(latent, output_shape, dimensions)
        *finer, coarsest = halvings(self.size, len(channels))
        shape = (channels[-1], *coarsest)
        self.layers = mlp((latent, hidden, prod(shape)), activation, last=False)
        self.layers.append(nn.Unflatten(1, shape))
        widths = pairwise((*channels[::-1], self.channels))
        for (n_in, n_out), size in zip(widths, finer[::-1], strict=True):
            self.layers.append(nonlinearity(activation))
            self.layers.append(upconvolution(n_in, n_out, kernel, size))
        initialize(self.layers, init)
