"""An encoder of residual blocks with layer normalization.

Shapes: B batch, F features, data_shape such as (1, 28, 28).
"""

from __future__ import annotations

from math import prod

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from vaeflow.parts import Encoder, Shape


class MyPart(Encoder):
    r"""A linear map of the flattened data, then residual blocks of normalized features.

    .. math:: h_0 = W x + b, \quad
        h_t = h_{t-1} + B_t \operatorname{silu}(A_t \operatorname{norm}(h_{t-1}))

    The normalization of each h is over its own features (Ba et al. 2016), never over the batch, so
    that no image touches another; the sum keeps gradients alive through any depth (He et al. 2016).

    Options:
        width: size of the features, and of the layer within a block.
        depth: number of blocks; 0 leaves a linear encoder.
    """

    def __init__(
        self, data_shape: Shape, *, width: PositiveInt = 256, depth: NonNegativeInt = 2
    ) -> None:
        super().__init__(data_shape)
        self.features = width
        self.first = nn.Linear(prod(data_shape), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, *data_shape) to features (B, F)."""
        h: Tensor = self.first(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        return h
