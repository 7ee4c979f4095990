"""Differences of two groups of trainings on the same images: paired, with intervals.

Shapes: S seeds, N images. Values are in nats per image, or in any other unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student_t
from torch import Tensor

from vaeflow.evaluation import Estimate

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference and its interval.

    Of two seeds or more on both sides, the seeds are the unit: the interval covers training again
    with other seeds *and* testing on other images of the same kind. Otherwise it covers other
    images alone, and says nothing of another seed.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    degrees_of_freedom: float
    of_seeds: float | None  # the part of the error that other seeds would change, on these images
    of_images: float  # the part that other images would change

    @property
    def clear(self) -> bool:
        """Return whether 0 lies outside the interval."""
        return not self.low <= 0 <= self.high

    @property
    def covers(self) -> str:
        """Return in words which changes the interval covers."""
        if self.of_seeds is None:
            return "other test images, not other seeds"
        return "other seeds and other test images"


def difference(one: Tensor, other: Tensor, level: float = LEVEL) -> Difference:
    r"""Return the mean of `one` (S, N) minus that of `other` (S', N) over seeds and images.

    An image's difference d_n is the difference of its means over seeds, so that the differences
    between images drop out. The variance of the mean is a sum of

    .. math:: V_\text{seeds} = \frac{s^2}{S} + \frac{s'^2}{S'}, \qquad
        V_\text{images} = \max\Bigl(0, \frac1N \bigl(\operatorname{var}_n d_n
        - \frac{r^2}{S} - \frac{r'^2}{S'}\bigr)\Bigr),

    s² the variance of the seeds' means and r² the mean square of the residuals that neither seed
    nor image explains, which V_seeds counts already: seeds and images are crossed random effects
    (Roe & Metz 1997). The degrees of freedom follow Satterthwaite (1946). Seeds are taken as
    independent trainings; their numbers may differ.
    """
    one, other = one.double(), other.double()
    images = one.shape[1]
    paired = one.mean(0) - other.mean(0)  # (N,)
    mean, over_images = paired.mean().item(), paired.var().item() / images
    if min(len(one), len(other)) < 2:
        return _interval(mean, [(over_images, images - 1)], None, over_images, level)
    parts = [(x.mean(1).var().item() / len(x), len(x) - 1) for x in (one, other)]
    seeds = sum(variance for variance, _ in parts)
    unexplained = sum(_residual(x) / len(x) for x in (one, other)) / images
    chosen = max(0.0, over_images - unexplained)
    return _interval(mean, [*parts, (chosen, images - 1)], seeds, chosen, level)


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds ± s/√S; a single seed has no error."""
    return Estimate.of(torch.tensor(values, dtype=torch.float64))


def _residual(x: Tensor) -> float:
    """Return the mean square of x (S, N) without the means of its rows and columns."""
    rest = x - x.mean(0) - x.mean(1, keepdim=True) + x.mean()
    return rest.square().sum().item() / ((len(x) - 1) * max(x.shape[1] - 1, 1))


def _interval(
    mean: float,
    parts: Sequence[tuple[float, int]],
    seeds: float | None,
    images: float,
    level: float,
) -> Difference:
    """Return mean ± t·√V, V the sum of variances with their degrees of freedom."""
    variance = sum(v for v, _ in parts)
    spread = sum(v * v / df for v, df in parts if v)
    degrees = variance * variance / spread if spread else float(max(df for _, df in parts))
    error = math.sqrt(variance)
    half = float(student_t.ppf((1 + level) / 2, degrees)) * error
    return Difference(
        mean=mean,
        standard_error=error,
        low=mean - half,
        high=mean + half,
        degrees_of_freedom=degrees,
        of_seeds=None if seeds is None else math.sqrt(seeds),
        of_images=math.sqrt(images),
    )
