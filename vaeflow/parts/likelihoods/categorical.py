"""The categorical likelihood of grey levels."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Distribution, Independent

from vaeflow.distributions.levels import LevelCount, Levels
from vaeflow.parts.abstract import Likelihood, Shape


class Categorical(Likelihood):
    r"""Independent values of a few levels in [0, 1], each level with a logit from the decoder.

    .. math:: \log p(x|z) = \sum_i l_{i, k_i} - \log \sum_k e^{l_{ik}}, \quad k_i = x_i (L - 1)

    A probability, in nats; it divides by D log 2 into bits per dimension. The decoder emits
    (L, *data_shape). It knows nothing of the order of the levels, and needs much data for many of
    them (van den Oord et al. 2016).

    Options:
        levels: L; the data are k/(L − 1), such as k/255 in 8-bit images.
    """

    example = "--dataset mnist"

    def __init__(self, data_shape: Shape, *, levels: LevelCount = 256) -> None:
        super().__init__(data_shape)
        self.support = self.levels = Levels(levels)
        self.output_shape = (levels, *self.data_shape)

    def forward(self, output: Tensor) -> Distribution:
        logits = output.movedim(-len(self.output_shape), -1)
        values = _LevelCategorical(logits, self.levels)
        return Independent(values, len(self.data_shape), validate_args=False)


class _LevelCategorical(TorchCategorical):
    """A categorical distribution of levels in place of their numbers."""

    def __init__(self, logits: Tensor, levels: Levels) -> None:
        super().__init__(logits=logits, validate_args=False)
        # torch's logits − logsumexp rounds to the digits of the logits, not of their differences.
        self.logits = logits.log_softmax(-1)
        self.levels = levels

    @property
    def support(self) -> Levels:
        return self.levels

    def log_prob(self, x: Tensor) -> Tensor:
        k = self.levels.index(x)
        log_prob: Tensor = super().log_prob(k)  # type: ignore[no-untyped-call]
        return log_prob

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        k: Tensor = super().sample(Size(sample_shape))  # type: ignore[no-untyped-call]
        return k.to(self.logits.dtype) / (self.levels.levels - 1)

    @property
    def mean(self) -> Tensor:
        k = torch.arange(self.levels.levels, dtype=self.logits.dtype, device=self.logits.device)
        return (self.probs * k).sum(-1) / (self.levels.levels - 1)
