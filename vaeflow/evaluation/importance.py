"""Statistics of K draws that come in blocks: moments, and measures of importance weights.

Shapes: K draws, of which k are in a block, B batch. The memory does not grow with K, but for the
√K largest weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaeflow.evaluation.estimates import PerImage
from vaeflow.evaluation.pareto import pareto_k, tail_size


class Moments:
    """The mean of draws (k, …) that are added block by block, and the error of that mean.

    Squares are summed around the running mean (Chan et al. 1979): the spread of draws that hardly
    differ is not lost in the size of their mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, draws: Tensor) -> None:
        """Count draws (k, …)."""
        k, mean = len(draws), draws.mean(0)
        squares = (draws - mean).square().sum(0)
        if self.count:
            step = mean - self.mean
            total = self.count + k
            squares = self.squares + squares + step.square() * (self.count * k / total)
            mean = self.mean + step * (k / total)
        self.count, self.mean, self.squares = self.count + k, mean, squares

    @property
    def error(self) -> Tensor:
        """Return s/√K, NaN of a single draw."""
        if self.count < 2:
            return torch.full_like(self.mean, torch.nan)
        return (self.squares / (self.count - 1) / self.count).sqrt()


class ImportanceWeights:
    """Logarithms of K weights for each of B images, added block by block.

    Arguments:
        samples: K.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.tail = tail_size(samples)
        self._largest: list[Tensor] = []  # blocks that hold the tail and its threshold, (2, k, B)
        self._waiting = 0
        self._log_sum: Tensor | None = None  # log Σw and log Σw², (2, B)

    def add(self, log_weight: Tensor, rounding: Tensor | None = None) -> None:
        """Count log w (k, B), with the rounding of its terms, as `pareto_k` takes it."""
        sums = torch.stack((log_weight.logsumexp(0), (2 * log_weight).logsumexp(0)))
        self._log_sum = sums if self._log_sum is None else torch.logaddexp(self._log_sum, sums)
        if self.tail:
            if rounding is None:
                rounding = torch.finfo(log_weight.dtype).eps * log_weight.abs()
            self._largest.append(torch.stack((log_weight, rounding)))
            self._waiting += len(log_weight)
            if self._waiting > 2 * self.tail:  # sorting each block by itself would take longer
                self._sort()

    def _sort(self) -> None:
        found = torch.cat(self._largest, 1)
        order = found[0].topk(min(self.tail + 1, found.shape[1]), dim=0).indices
        self._largest, self._waiting = [found.gather(1, order.expand(2, -1, -1))], 0

    @property
    def effective_sample_size(self) -> Tensor:
        r"""Return :math:`(\sum_k w_k)^2 / \sum_k w_k^2` (B,): K for equal weights, 1 for one."""
        assert self._log_sum is not None, "no weights were added"
        return (2 * self._log_sum[0] - self._log_sum[1]).exp()

    @property
    def log_mean(self) -> PerImage:
        r"""Return :math:`\log \frac1K \sum_k w_k` (B,), with the error of `log_mean_exp`."""
        assert self._log_sum is not None, "no weights were added"
        values = self._log_sum[0] - math.log(self.samples)
        if self.samples < 2:
            return PerImage(values.cpu(), torch.full_like(values, torch.nan).cpu())
        # K/ESS − 1 is the squared coefficient of variation of the weights.
        variance = (self.samples / self.effective_sample_size - 1).clamp_min(0)
        return PerImage(values.cpu(), (variance / (self.samples - 1)).sqrt().cpu())

    @property
    def pareto_k(self) -> Tensor:
        """Return k̂ of the largest weights (B,), float64 on the CPU; NaN if K is small for a tail.

        −∞ stands for weights that are equal but for rounding; see `pareto_k`.
        """
        if not self.tail:
            assert self._log_sum is not None, "no weights were added"
            return torch.full_like(self._log_sum[0], torch.nan).cpu()
        self._sort()
        return pareto_k(*self._largest[0]).cpu()
