"""Data of equally spaced levels in [0, 1], such as the grey values k/255 of 8-bit images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import constraints

LevelCount = Annotated[int, Field(ge=2, le=65536)]


class Levels(constraints.Constraint):
    """The values k/(levels − 1) for k = 0 … levels − 1, to a hundredth of their distance.

    The tolerance is for float32, in which k/255 is not k · (1/255).
    """

    is_discrete = True
    lower_bound = 0.0
    upper_bound = 1.0

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.step = 1 / (levels - 1)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return True for each value that is a level."""
        k = value * (self.levels - 1)
        return ((k - k.round()).abs() < 0.01) & (k > -0.5) & (k < self.levels - 0.5)

    def index(self, value: Tensor) -> Tensor:
        """Return k, as a number of the values' type."""
        return torch.round(value * (self.levels - 1))

    def __str__(self) -> str:
        return f"{{0, 1/{self.levels - 1}, …, 1}}"
