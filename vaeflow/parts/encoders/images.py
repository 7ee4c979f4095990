"""The base of encoders of grids, which see every data set as channels of pixels."""

from __future__ import annotations

import logging

from torch import Tensor, nn

from vaeflow.nn.convolutions import Dimensions, channels_and_size
from vaeflow.parts.abstract import Encoder, Shape

log = logging.getLogger("vaeflow")
_FEW = 4  # channels of RGBA: what is as narrow, and has more channels, perhaps has them last


class ImageEncoder(Encoder):
    """An encoder of pictures (channels, height, width), and of signals and volumes as well.

    The last axes of the data are the grid, and all axes before it are channels. A subclass sets
    `layers`, from (B, channels, *size) to (B, F), and `features`.

    Options:
        dimensions: axes of the grid, 1 for signals, 2 for pictures, 3 for volumes; without it, as
            the shape of the data tells.

    Raises:
        ConfigError: for data that are no grid.
    """

    layers: nn.Module

    def __init__(self, data_shape: Shape, dimensions: Dimensions | None = None) -> None:
        super().__init__(data_shape)
        # One axis is a signal, four are channels of volumes.
        axes = len(self.data_shape)
        self.dimensions = dimensions or (min(2, axes) if axes < 4 else 3)
        self.channels, self.size = channels_and_size(self.data_shape, self.dimensions)
        if axes > 2 and self.size[-1] <= _FEW < self.channels:
            log.warning(
                "data of shape %s is taken for %d channels of %s: put the channels first if they "
                "are last", self.data_shape, self.channels, "×".join(map(str, self.size)),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers(x.reshape(x.shape[0], self.channels, *self.size))
        return h
