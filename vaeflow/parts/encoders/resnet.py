"""The residual encoder."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import PositiveInt
from torch import nn

from vaeflow.nn.convolutions import Channels, Dimensions, convolution, halve, halvings, keep
from vaeflow.nn.mlp import Activation, mlp
from vaeflow.nn.mlp import activation as nonlinearity
from vaeflow.parts.abstract import Shape
from vaeflow.parts.encoders.images import ImageEncoder


class ResNet(ImageEncoder):
    """Stages of residual blocks, the first of each halving the image, and a layer of features.

    Blocks have their activations first and start as the identity or an average of pixels; nothing
    is normalized over the batch. (He et al. 2016b; Zhang et al. 2019.)

    Options:
        channels: channels of each stage.
        blocks: residual blocks of each stage.
        kernel: side of the kernels, odd and at least 3.
        hidden: F, the units of the fully connected layer of features.
        activation: nonlinearity before each convolution, and of the features.
    """

    def __init__(
        self,
        data_shape: Shape,
        *,
        channels: Channels = (16, 32, 64),
        blocks: PositiveInt = 2,
        kernel: PositiveInt = 3,
        hidden: PositiveInt = 256,
        activation: Activation = "elu",
        dimensions: Dimensions | None = None,
    ) -> None:
        super().__init__(data_shape, dimensions)
        self.features, dims = hidden, self.dimensions
        self.layers = nn.Sequential(
            convolution(self.channels, channels[0], kernel, dimensions=dims)
        )
        *finer, coarsest = halvings(self.size, len(channels))
        for (n_in, n), size in zip(pairwise((channels[0], *channels)), finer, strict=True):
            self.layers.append(halve(n_in, n, kernel, size, activation))
            self.layers.extend(
                keep(n, kernel, activation, dimensions=dims) for _ in range(blocks - 1)
            )
        whole = channels[-1] * prod(coarsest)
        self.layers.extend([nonlinearity(activation), nn.Flatten()])
        self.layers.extend(mlp((whole, hidden), activation, last=True))
