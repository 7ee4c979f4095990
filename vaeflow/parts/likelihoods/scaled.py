"""The base of likelihoods with a positive scale: fixed, learned or emitted by the decoder."""

from __future__ import annotations

from math import expm1, log
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from vaeflow.parts.abstract import Likelihood, Shape

Scale = Literal["fixed", "shared", "pixel"]
Link = Literal["identity", "sigmoid"]


def raw_scale(start: float, floor: float) -> float:
    """Return r with softplus(r) + floor = start: r = log(e^gap − 1), without overflow."""
    gap = max(start - floor, 1e-6)
    return gap + log(-expm1(-gap))


class Scaled(Likelihood):
    """A likelihood of independent values, each with a location and a positive scale.

    Arguments:
        data_shape: the shape of one example.
        scale: "fixed", one learned for all values ("shared"), or one per value from the decoder
            ("pixel").
        start: the scale itself if fixed, its start if learned.
        floor: the smallest scale that learning can reach.
        link: map from the decoder's output to the location.
    """

    def __init__(
        self,
        data_shape: Shape,
        scale: str,
        start: float,
        floor: float,
        link: Link = "identity",
    ) -> None:
        super().__init__(data_shape)
        self.scale = scale
        self.start = start
        self.floor = floor
        self.link = link
        self.location_in_units = link == "identity"
        if scale == "shared":
            self.raw = nn.Parameter(torch.tensor(raw_scale(start, floor)))
        elif scale == "pixel":
            self.output_shape = (2, *self.data_shape)  # location and raw scale

    def split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the locations (K, B, *data_shape), and scales that broadcast with them."""
        if self.scale == "shared":
            scale = F.softplus(self.raw) + self.floor
        elif self.scale == "pixel":
            output, raw = output.unbind(-len(self.output_shape))
            scale = F.softplus(raw + raw_scale(self.start, self.floor)) + self.floor
        else:
            scale = output.new_full((), self.start)
        return torch.sigmoid(output) if self.link == "sigmoid" else output, scale

    def independent(self, values: Distribution) -> Distribution:
        """Return the distribution of a whole example, its values being independent."""
        return Independent(values, len(self.data_shape), validate_args=False)
