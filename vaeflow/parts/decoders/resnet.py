"""The residual decoder."""

from __future__ import annotations

from math import prod

from pydantic import PositiveInt
from torch import nn

from vaeflow.nn.convolutions import Channels, Dimensions, convolution, double, halvings, keep
from vaeflow.nn.mlp import Activation, mlp
from vaeflow.nn.mlp import activation as nonlinearity
from vaeflow.parts.abstract import Shape
from vaeflow.parts.decoders.images import ImageDecoder


class ResNet(ImageDecoder):
    """Two fully connected layers and stages of residual blocks, the last doubling the image.

    Blocks have their activations first and start as the identity or a repetition of pixels;
    nothing is normalized over the batch. (He et al. 2016b; Zhang et al. 2019.)

    Options:
        channels: channels of each stage, the finest first.
        blocks: residual blocks of each stage.
        kernel: side of the kernels, odd and at least 3.
        hidden: units of the first fully connected layer.
        activation: nonlinearity before each layer but the first.
    """

    def __init__(
        self,
        latent: int,
        output_shape: Shape,
        *,
        channels: Channels = (16, 32, 64),
        blocks: PositiveInt = 2,
        kernel: PositiveInt = 3,
        hidden: PositiveInt = 256,
        activation: Activation = "elu",
        dimensions: Dimensions | None = None,
    ) -> None:
        super().__init__(latent, output_shape, dimensions)
        *finer, coarsest = halvings(self.size, len(channels))
        shape = (channels[-1], *coarsest)
        self.layers = mlp((latent, hidden, prod(shape)), activation, last=False)
        self.layers.append(nn.Unflatten(1, shape))
        n_in, dims = channels[-1], self.dimensions
        for n, size in zip((channels[0], *channels[:-1])[::-1], finer[::-1], strict=True):
            self.layers.extend(
                keep(n_in, kernel, activation, dimensions=dims) for _ in range(blocks - 1)
            )
            self.layers.append(double(n_in, n, kernel, size, activation))
            n_in = n
        self.layers.append(nonlinearity(activation))
        self.layers.append(convolution(n_in, self.channels, kernel, dimensions=dims))
