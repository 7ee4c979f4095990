"""The Bernoulli likelihood of binary data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, constraints

from vaeflow.parts.abstract import Likelihood, Shape


class Bernoulli(Likelihood):
    r"""Independent Bernoulli values whose logits the decoder emits.

    .. math:: \log p(x|z) = \sum_i x_i l_i - \log(1 + e^{l_i})

    On grey x in [0, 1] the same formula is the cross-entropy, the mean of log p over binarizations
    of x. It is no density of grey images, hence the option `grey`.

    Options:
        grey: accept grey values and score them by the cross-entropy.
    """

    exemptions: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("is_normalized", "draws_follow_the_density", "mean_is_that_of_the_density"),
        "with the option grey, the score is a cross-entropy, no density",
    )

    def __init__(self, data_shape: Shape, *, grey: bool = False) -> None:
        super().__init__(data_shape)
        self.support = constraints.unit_interval if grey else constraints.boolean

    def forward(self, output: Tensor) -> Distribution:
        pixels = TorchBernoulli(logits=output, validate_args=False)
        return Independent(pixels, len(self.data_shape), validate_args=False)
