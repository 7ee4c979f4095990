"""The base of decoders to images, which make every output as channels of pixels."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from vaeflow.errors import ConfigError
from vaeflow.nn.convolutions import Size
from vaeflow.parts.abstract import Decoder, Shape


class ImageDecoder(Decoder):
    """A decoder to an output (*, height, width), such as (2, channels, height, width).

    All sizes before the last two are the channels of one image. A subclass sets `layers`, from
    (N, L) to (N, channels, height, width), the last of them with a bias.

    Raises:
        ConfigError: for an output that is no image.
    """

    layers: nn.Sequential
    start: Tensor

    def __init__(self, latent: int, output_shape: Shape) -> None:
        super().__init__(latent, output_shape)
        if len(output_shape) < 2:
            raise ConfigError(
                f"the decoder {type(self).__name__} makes images, (…, height, width), not an "
                f"output of shape {self.output_shape}: take --decoder mlp"
            )
        *lead, height, width = output_shape
        self.channels = prod(lead)
        self.size: Size = (height, width)
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
