"""A row of values of several laws, and the values of categories.

Shapes: K samples, B batch, D values of a row. Densities are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, OneHotCategorical, constraints


class Blocks(Distribution):
    r"""An example of D values whose blocks have laws of their own, independent of each other.

    .. math:: \log p(x) = \sum_b \sum_{i \in b} \log p_b(x_i)

    Arguments:
        blocks: each with batch (K, B, n) and event (), for n values; they have D together.
        event_shape: of an example.
        order: which value of the example each of the blocks' values is, (D,), and in which of
            theirs each value of the example stands, (D,); None where both have one order.
    """

    def __init__(
        self,
        blocks: Sequence[Distribution],
        event_shape: Sequence[int],
        order: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(blocks[0].batch_shape[:-1], Size(event_shape), validate_args=False)
        self.blocks = blocks
        self.order = order

    @property
    def mean(self) -> Tensor:
        """Return the mean of each value, (K, B, *event_shape)."""
        return self._example([block.mean for block in self.blocks])

    @property
    def variance(self) -> Tensor:
        """Return the variance of each value, (K, B, *event_shape)."""
        return self._example([block.variance for block in self.blocks])

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), (K, B)."""
        return torch.cat(self._scores(x), -1).sum(-1)

    def log_prob_of_each(self, x: Tensor) -> Tensor:
        """Return the score of each value, NaN being a missing one (see `ByValue`)."""
        return self._example(self._scores(torch.where(x.isnan(), 0.0, x)))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self._example([block.sample(Size(sample_shape)) for block in self.blocks])

    def _scores(self, x: Tensor) -> list[Tensor]:
        row = x.flatten(-len(self.event_shape))
        row = row if self.order is None else row.index_select(-1, self.order[0])
        parts = row.split([block.batch_shape[-1] for block in self.blocks], -1)
        return [block.log_prob(part) for block, part in zip(self.blocks, parts, strict=True)]

    def _example(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the values of the blocks as those of an example."""
        row = torch.cat(tuple(parts), -1)
        if self.order is not None:
            row = row.index_select(-1, self.order[1])
        return row.reshape(*row.shape[:-1], *self.event_shape)


class OneHots(Distribution):
    r"""C categories of S levels each: S values side by side, of which one is 1 and the others 0.

    .. math:: \log p(x) = \sum_s x_s \Big(l_s - \log \sum_t e^{l_t}\Big)

    They are told value by value, as a batch, though the S values of a category depend on each
    other: each value's score is its term of the sum.

    Arguments:
        logits: (*, C · S) for C categories.
        levels: S.
    """

    support = constraints.boolean

    def __init__(self, logits: Tensor, levels: int) -> None:
        super().__init__(logits.shape, validate_args=False)
        self.log_probs = logits.unflatten(-1, (-1, levels)).log_softmax(-1)

    @property
    def mean(self) -> Tensor:
        """Return the probability of each level."""
        probabilities: Tensor = self.log_probs.exp().flatten(-2)
        return probabilities

    @property
    def variance(self) -> Tensor:
        """Return p(1 − p) of each level."""
        p = self.mean
        return p * (1 - p)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return what each value adds to the log-probability of its category, (*, C · S)."""
        score: Tensor = x * self.log_probs.flatten(-2)
        return score

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        values = OneHotCategorical(logits=self.log_probs, validate_args=False)
        sample: Tensor = values.sample(Size(sample_shape)).flatten(-2)
        return sample
