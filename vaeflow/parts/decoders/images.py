"""The base of decoders to grids, which make every output as channels of pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaeflow.nn.convolutions import Dimensions, channels_and_size
from vaeflow.parts.abstract import Decoder, Shape


class ImageDecoder(Decoder):
    """A decoder to an output (*, height, width), such as (2, channels, height, width).

    All sizes before the grid are its channels. A subclass sets `layers`, from (N, L) to (N,
    channels, *size), the last of them with a bias.

    Options:
        dimensions: axes of the grid, 1 for signals, 2 for pictures, 3 for volumes; without it, as
            the shape of the data tells.

    Raises:
        ConfigError: for an output that is no grid.
    """

    layers: nn.Sequential
    start: Tensor

    def __init__(
        self, latent: int, output_shape: Shape, dimensions: Dimensions | None = None
    ) -> None:
        super().__init__(latent, output_shape)
        # More than two axes may be several numbers for each pixel: only the caller knows.
        self.dimensions = dimensions or min(2, len(self.output_shape))
        self.channels, self.size = channels_and_size(self.output_shape, self.dimensions)
        self.register_buffer("start", torch.zeros(self.output_shape))

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.layers(z.flatten(0, 1))
        return images.reshape(*z.shape[:-1], *self.output_shape) + self.start

    @torch.no_grad()
    def start_at(self, output: Tensor) -> None:
        """Start around `output` (*output_shape), which is added to the output of the layers.

        A bias for each channel could only start at the mean over the pixels, and that of the
        logits of a mean image is far from it.
        """
        self.start.copy_(output)
        nn.init.zeros_(self.layers[-1].get_parameter("bias"))
