"""A mixture of discretized logistics as the likelihood of grey levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily

from vaeflow.distributions.levels import LevelCount, Levels
from vaeflow.parts.abstract import Likelihood, Shape
from vaeflow.parts.likelihoods.discretized_logistic import LevelLogistic
from vaeflow.parts.likelihoods.scaled import raw_scale


class DiscretizedLogisticMixture(Likelihood):
    r"""Independent values of a few levels in [0, 1], each a mixture of M discretized logistics.

    .. math::
        \log p(x|z) = \sum_i \log \sum_m π_{im} \Big(σ\big(\tfrac{x_i + w - μ_{im}}{s_{im}}\big)
        - σ\big(\tfrac{x_i - w - μ_{im}}{s_{im}}\big)\Big), \quad w = \tfrac{1}{2(L - 1)}

    The decoder emits (3M, *data_shape): the logits of π, then μ, then the raw s. The means start
    spread over [0, 1]. A probability, in nats; it divides by D log 2 into bits per dimension.
    (Salimans et al. 2017, eq. 2; their dependence between the channels of a pixel is left out:
    given z, channels are independent here.)

    Options:
        levels: L; the data are k/(L − 1), such as k/255 in 8-bit images.
        components: M.
        s: where the logistics' scales start, √3/π of their standard deviations.
        floor: the smallest s that learning can reach.
    """

    example = "--dataset mnist"

    def __init__(
        self,
        data_shape: Shape,
        *,
        levels: LevelCount = 256,
        components: PositiveInt = 5,
        s: PositiveFloat = 0.1,
        floor: PositiveFloat = 5e-4,
    ) -> None:
        super().__init__(data_shape)
        self.support = self.levels = Levels(levels)
        self.output_shape = (3 * components, *self.data_shape)
        self.components = components
        self.start = raw_scale(s, floor)
        self.floor = floor

    def forward(self, output: Tensor) -> Distribution:
        logits, mean, raw = output.movedim(-len(self.output_shape), -1).chunk(3, -1)
        start = torch.arange(0.5, self.components, device=output.device) / self.components
        s = F.softplus(raw + self.start) + self.floor
        values = MixtureSameFamily(
            Categorical(logits=logits.log_softmax(-1), validate_args=False),
            LevelLogistic(mean + start, s, self.levels),
            validate_args=False,
        )
        return Independent(values, len(self.data_shape), validate_args=False)
