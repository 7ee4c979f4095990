"""The gated convolutional decoder."""

from __future__ import annotations

from functools import partial

from pydantic import PositiveInt
from torch import nn

from vaeflow.nn.convolutions import (
    CONVOLUTIONS,
    TRANSPOSED,
    Channels,
    Dimensions,
    Gated,
    convolution,
    halvings,
    upconvolution,
)
from vaeflow.parts.abstract import Shape
from vaeflow.parts.decoders.images import ImageDecoder


class GatedConv(ImageDecoder):
    """Pairs of gated convolutions, the second doubling the image, then one more and a 1×1 kernel.

    A layer is h(x) ⊙ sigmoid(g(x)), with no other nonlinearity; the last is linear. The defaults
    are the network of van den Berg et al. 2018 (Sylvester flows, their code): for 28×28, a kernel
    of 7×7 makes 64 channels of z; kernels of 5×5 follow with 64, 32 (doubling), 32, 32 (doubling)
    and 32 channels. (Their transposed convolutions of stride 1 are convolutions.)

    Options:
        channels: channels of each pair, the finest first.
        kernel: side of the kernels, odd and at least 3.
    """

    def __init__(
        self,
        latent: int,
        output_shape: Shape,
        *,
        channels: Channels = (32, 64),
        kernel: PositiveInt = 5,
        dimensions: Dimensions | None = None,
    ) -> None:
        super().__init__(latent, output_shape, dimensions)
        *finer, coarsest = halvings(self.size, len(channels))
        n_in, dims = channels[-1], self.dimensions
        convolve = partial(convolution, dimensions=dims)
        self.layers = nn.Sequential(
            nn.Unflatten(1, (latent, *[1] * dims)),
            Gated(partial(TRANSPOSED[dims - 1], latent, n_in, coarsest)),
        )
        for n, size in zip((channels[0], *channels[:-1])[::-1], finer[::-1], strict=True):
            self.layers.append(Gated(partial(convolve, n_in, n_in, kernel)))
            self.layers.append(Gated(partial(upconvolution, n_in, n, kernel, size)))
            n_in = n
        self.layers.append(Gated(partial(convolve, n_in, n_in, kernel)))
        self.layers.append(CONVOLUTIONS[dims - 1](n_in, self.channels, 1))
