"""Differences of two groups of trainings on the same images: paired, with intervals.

Shapes: S seeds, N images. Values are in nats per image, or in any other unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from scipy.stats import t as student_t
from torch import Tensor

from vaeflow.comparison.pairing import Pairing
from vaeflow.evaluation import Estimate

LEVEL = 0.95
# Of the degrees of freedom; see `degrees_of_freedom`.
_BELOW = 1 / 8
_CORRECTION = 3 / 2


@dataclass(frozen=True, kw_only=True)
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
    of_seeds: float | None = None  # the part of the error that other seeds would change
    of_images: float  # the part that other images would change
    pairing: Pairing

    @property
    def clear(self) -> bool:
        """Return whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0

    @property
    def covers(self) -> str:
        """Return in words which changes the interval covers."""
        if self.of_seeds is None:
            return "other test examples, not other seeds"
        return "other seeds and other test examples"


def difference(
    one: Tensor, other: Tensor, pairing: Pairing | None = None, level: float = LEVEL
) -> Difference:
    """Return the mean of `one` (S, N) minus that of `other` (S', N) over seeds and images.

    Arguments:
        one: a value for each run and image.
        other: values of other runs on the same images.
        pairing: the seeds of both, which tell the pairs; by default no two runs share a seed.
        level: of the interval.
    """
    if pairing is None:
        seeds = range(len(one) + len(other))
        pairing = Pairing(tuple(seeds[: len(one)]), tuple(seeds[len(one) :]))
    found = intervals(pairing.samples(one.double(), other.double()), level)
    return Difference(**{name: value.item() for name, value in found.items()}, pairing=pairing)


def intervals(samples: Sequence[Tensor], level: float = LEVEL) -> dict[str, Tensor]:
    r"""Return the numbers of a `Difference`, each (*), of independent samples (*, S, N).

    The difference is the sum of the samples' means. An image's difference d_n is the sum of the
    samples' means over seeds, so that what the images do to both groups drops out. The variance of
    the mean is a sum of

    .. math:: V_\text{seeds} = \sum_\text{samples} \frac{s^2}{S}, \qquad
        V_\text{images} = \max\Bigl(0, \frac1N \Bigl(\operatorname{var}_n d_n
        - \sum_\text{samples} \frac{r^2}{S}\Bigr)\Bigr),

    s² the variance of the seeds' means and r² the mean square of the residuals that neither seed
    nor image explains, which V_seeds counts already: seeds and images are crossed random effects
    (Roe & Metz 1997). If a sample is of a single seed, V_seeds is unknown and left out, and
    V_images is var_n d_n / N.
    """
    images = samples[0].shape[-1]
    paired = torch.stack([x.mean(-2) for x in samples]).sum(0)  # (*, N)
    mean, over_images = paired.mean(-1), paired.var(-1) / images
    variances, degrees, parts = [over_images], [images - 1], {}
    if min(x.shape[-2] for x in samples) > 1:
        unexplained = torch.stack([_residual(x) / x.shape[-2] for x in samples]).sum(0) / images
        over_seeds = [x.mean(-1).var(-1) / x.shape[-2] for x in samples]
        variances = [*over_seeds, (over_images - unexplained).clamp(min=0)]
        degrees = [*(x.shape[-2] - 1 for x in samples), images - 1]
        parts["of_seeds"] = torch.stack(over_seeds).sum(0).sqrt()
    freedom = degrees_of_freedom(torch.stack(variances), degrees)
    error = torch.stack(variances).sum(0).sqrt()
    half = torch.as_tensor(student_t.ppf((1 + level) / 2, freedom.numpy())) * error
    return parts | {
        "mean": mean,
        "standard_error": error,
        "low": mean - half,
        "high": mean + half,
        "degrees_of_freedom": freedom,
        "of_images": variances[-1].sqrt(),
    }


def degrees_of_freedom(variances: Tensor, degrees: Sequence[int]) -> Tensor:
    r"""Return the degrees of freedom (*) of a sum of independent variances (P, *).

    .. math:: \nu = \frac{(\sum_i u_i)^2}{\sum_i u_i^2 / (\nu_i + a)} - a, \qquad
        u_i = V_i\,\frac{\nu_i}{\chi^2_{\nu_i}(1/8)}, \qquad a = 3/2

    With a = 0 and u_i = V_i it is Satterthwaite's (1946), with a = 2 and u_i = V_i Welch's (1947).
    Both take the estimates for the variances. That of two seeds is mostly far too small, its share
    in the sum then seems small too, and 95 % intervals of 2 seeds against 10 cover 90 %. So the
    shares are those of the upper 7/8 limits u_i. Two equal variances of one degree each have the
    opposite fault, coverage 0.977 by Satterthwaite, and a reduces it.

    The constants were chosen by simulation. Where seeds make nearly all of the error, 95 %
    intervals of 2 to 10 seeds, paired or not, cover 0.95 to 0.96; where one group's variance over
    seeds is 4 times the other's, 0.94 to 0.97. No choice is as near everywhere. Where images add a
    third of the variance or more, two seeds are cautious, up to 0.986, and three up to 0.97. Where
    one group's variance is 100 times the other's, two unpaired seeds each cover 0.91.
    """
    own = torch.tensor(degrees, dtype=variances.dtype).reshape(-1, *[1] * (variances.ndim - 1))
    upper = variances * own / torch.as_tensor(chi2.ppf(_BELOW, own.numpy()))
    found = upper.sum(0).square() / (upper.square() / (own + _CORRECTION)).sum(0) - _CORRECTION
    return torch.where(upper.sum(0) > 0, found, float(max(degrees)))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds ± s/√S; a single seed has no error."""
    return Estimate.of(torch.tensor(values, dtype=torch.float64))


def _residual(x: Tensor) -> Tensor:
    """Return the mean square of x (*, S, N) without the means of its rows and columns."""
    rows, columns = x.mean(-2, keepdim=True), x.mean(-1, keepdim=True)
    rest = x - rows - columns + rows.mean(-1, keepdim=True)
    seeds, images = x.shape[-2:]
    return rest.square().sum((-2, -1)) / ((seeds - 1) * max(images - 1, 1))
