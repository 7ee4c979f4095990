"""The base of encoders of images, which see every data set as channels of pixels."""

from __future__ import annotations

from torch import Tensor, nn

from vaeflow.errors import ConfigError
from vaeflow.nn.convolutions import Size
from vaeflow.parts.abstract import Encoder, Shape


class ImageEncoder(Encoder):
    """An encoder of images (channels, height, width), or (height, width) of one channel.

    A subclass sets `layers`, from (B, channels, height, width) to (B, F), and `features`.

    Raises:
        ConfigError: for data that are no images.
    """

    layers: nn.Module

    def __init__(self, data_shape: Shape) -> None:
        super().__init__(data_shape)
        if len(data_shape) not in (2, 3):
            raise ConfigError(
                f"the encoder {type(self).__name__} takes images, (channels, height, width) or "
                f"(height, width), not data of shape {self.data_shape}: take --encoder mlp"
            )
        channels, height, width = (1, *data_shape)[-3:]
        self.channels = channels
        self.size: Size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers(x.reshape(len(x), self.channels, *self.size))
        return h
