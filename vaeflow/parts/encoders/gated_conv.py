"""The gated convolutional encoder."""

from __future__ import annotations

from functools import partial
from math import prod

from pydantic import PositiveInt
from torch import nn

from vaeflow.nn.convolutions import Channels, Dimensions, Gated, convolution, halvings
from vaeflow.parts.abstract import Shape
from vaeflow.parts.encoders.images import ImageEncoder


class GatedConv(ImageEncoder):
    """Pairs of gated convolutions, the second of stride 2, then one more and the features.

    A layer is h(x) ⊙ sigmoid(g(x)), with no other nonlinearity. The defaults are the network of
    van den Berg et al. 2018 (Sylvester flows, their code): for 28×28, kernels of 5×5 with 32, 32
    (stride 2), 64, 64 (stride 2) and 64 channels, and one of 7×7, the whole image, with 256.

    Options:
        channels: channels of each pair.
        kernel: side of the kernels, odd and at least 3.
        hidden: F, the channels of the last layer, which sees the whole image.
    """

    def __init__(
        self,
        data_shape: Shape,
        *,
        channels: Channels = (32, 64),
        kernel: PositiveInt = 5,
        hidden: PositiveInt = 256,
        dimensions: Dimensions | None = None,
    ) -> None:
        super().__init__(data_shape, dimensions)
        self.features = hidden
        self.layers = nn.Sequential()
        convolve = partial(convolution, dimensions=self.dimensions)
        n_in = self.channels
        for n in channels:
            self.layers.append(Gated(partial(convolve, n_in, n, kernel)))
            self.layers.append(Gated(partial(convolve, n, n, kernel, stride=2)))
            n_in = n
        self.layers.append(Gated(partial(convolve, n_in, n_in, kernel)))
        # A kernel as large as the image is a matrix.
        whole = n_in * prod(halvings(self.size, len(channels))[-1])
        self.layers.extend([nn.Flatten(), Gated(partial(nn.Linear, whole, hidden))])
