"""The discretized logistic likelihood of grey levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Size, Tensor
from torch.distributions import Distribution

from vaeflow.distributions.levels import LevelCount, Levels
from vaeflow.parts.abstract import Shape
from vaeflow.parts.likelihoods.scaled import Link, Scale, Scaled


class DiscretizedLogistic(Scaled):
    r"""Independent values of a few levels in [0, 1]: the mass of a logistic density around each.

    .. math::
        \log p(x|z) = \sum_i \log\Big(σ\big(\tfrac{x_i + w - μ_i}{s_i}\big)
        - σ\big(\tfrac{x_i - w - μ_i}{s_i}\big)\Big), \quad w = \tfrac{1}{2(L - 1)}

    The lowest level has all the mass below it, the highest all above, so that the L masses add up
    to 1. A probability, in nats; it divides by D log 2 into bits per dimension. (Kingma et al.
    2016; Salimans et al. 2017, eq. 2.)

    Options:
        levels: L; the data are k/(L − 1), such as k/255 in 8-bit images.
        scale: "fixed" s, one learned s ("shared"), or one per value from the decoder ("pixel").
        s: the logistic's scale, √3/π of its standard deviation; itself if fixed, its start if
            learned.
        floor: the smallest s that learning can reach; constant values would drive it to 0.
        link: map from the decoder's output to the location μ; "sigmoid" keeps it in (0, 1).
    """

    example = "--dataset mnist"

    def __init__(
        self,
        data_shape: Shape,
        *,
        levels: LevelCount = 256,
        scale: Scale = "shared",
        s: PositiveFloat = 0.1,
        floor: PositiveFloat = 5e-4,
        link: Link = "identity",
    ) -> None:
        super().__init__(data_shape, scale, s, floor, link)
        self.support = self.levels = Levels(levels)

    def forward(self, output: Tensor) -> Distribution:
        location, s = self.split(output)
        return self.independent(LevelLogistic(location, s, self.levels))


class LevelLogistic(Distribution):
    """A logistic variable rounded to the nearest level; beyond the ends, to the end."""

    def __init__(self, location: Tensor, s: Tensor, levels: Levels) -> None:
        self.location, self.s = torch.broadcast_tensors(location, s)
        self.levels = levels
        super().__init__(self.location.shape, validate_args=False)

    @property
    def support(self) -> Levels:
        """Return the levels."""
        return self.levels

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log of the difference of two sigmoids, without taking it.

        σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a−b)): each factor is safe in the logarithm.
        """
        last = self.levels.levels - 1
        k = self.levels.index(x)
        above = (((k + 0.5) / last) - self.location) / self.s  # b
        below = (((k - 0.5) / last) - self.location) / self.s  # a
        inner = torch.log(-torch.expm1(-self.levels.step / self.s))
        left, right = F.logsigmoid(above), F.logsigmoid(-below)
        middle = left + right + inner
        return torch.where(k <= 0, left, torch.where(k >= last, right, middle))

    @property
    def mean(self) -> Tensor:
        """Return E[x] = Σ_k P(x ≥ level k)/(L − 1), k = 1 … L − 1."""
        last = self.levels.levels - 1
        total = torch.zeros_like(self.location)
        for k in range(1, last + 1):  # one at a time: all at once would take L times the memory
            total = total + torch.sigmoid((self.location - (k - 0.5) / last) / self.s)
        return total / last

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Round a logistic variable, drawn by the inverse of its distribution function."""
        shape = self._extended_shape(Size(sample_shape))
        u = torch.rand(shape, dtype=self.location.dtype, device=self.location.device)
        with torch.no_grad():
            x = self.location + self.s * torch.logit(u)
            return self.levels.index(x.clamp(0, 1)) / (self.levels.levels - 1)
