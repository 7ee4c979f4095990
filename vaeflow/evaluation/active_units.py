"""Active units: the latent dimensions that depend on the image.

Shapes: N images, B batch, L latent size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data, Rows
from vaeflow.distributions.draw import draw
from vaeflow.evaluation.estimates import Estimate
from vaeflow.evaluation.importance import Moments
from vaeflow.model import VAE
from vaeflow.runtime.ranks import ALONE, World

BATCH = 500
ACTIVE = 0.01  # the threshold of Burda et al. on the variance
LEVEL = 0.05  # the chance of a wrong verdict, over all latent dimensions together
_IMAGES, _DRAWS = 1000, 32  # at first
_GROWTH = 4
_QUIET = 0.1 * ACTIVE  # noise that the draws add: below it more of them tell little
_BLOCK = 16_000  # draws at a time


@dataclass(frozen=True)
class ActiveUnits:
    r"""How many of L latent dimensions have :math:`\mathrm{Var}_x(E_{q(z|x)}[z_i]) > 0.01`.

    A dimension is active, or not, if its variance is clear of 0.01, at a level of 5 % over all
    dimensions together. Otherwise it is undecided.
    """

    active: int
    undecided: int
    images: int
    variances: list[Estimate]  # of each dimension, over images; none of a single image

    def counts(self, latent: int) -> dict[str, int]:
        """Return the details of a finding on L dimensions."""
        found = {"active_units": self.active, "undecided_units": self.undecided}
        return {**found, "latent": latent, "images": self.images}

    def __repr__(self) -> str:
        return f"{self.active} active, {self.undecided} undecided, from {self.images:,} images"


@torch.no_grad()
def active_units(model: VAE, x: Data, world: World = ALONE, *, most: int = 400_000) -> ActiveUnits:
    """Count the latent dimensions whose E_q[z] differs between the images x (N, *data_shape).

    (Burda et al. 2016, section 5.2.) Images are evenly spaced over x, a thousand at first. The mean
    of q is taken from its formula or, where there is none, from draws, whose noise is taken off the
    variance. While a dimension is undecided more draws are taken or, once their noise is small,
    more images.

    Arguments:
        model: in the mode in which it is to be evaluated.
        world: each rank takes its part of the images; all return the same.
        most: draws of z in all; of a q whose mean has a formula, images.
    """
    images, draws = min(len(x), _IMAGES), _DRAWS
    while True:
        found = _spread(model, x, images, draws, world)
        active, inactive = found.verdicts()
        undecided = ~(active | inactive)
        before = images, draws
        if undecided.any() and found.noise[undecided].max() > _QUIET:
            draws = max(draws, min(_GROWTH * draws, most // images))
        elif undecided.any():
            each = draws if found.noise.any() else 1
            images = max(images, min(_GROWTH * images, len(x), most // each))
        if (images, draws) == before:
            return ActiveUnits(int(active.sum()), int(undecided.sum()), images, found.estimates())


class _Spread(NamedTuple):
    """The spread of E_q[z] over images in each latent dimension, (L,), float64 on the CPU."""

    total: Tensor  # the variance of the estimated means, noise included
    noise: Tensor  # the part of it that the draws add
    freedom: Tensor  # degrees of freedom of the first

    def estimates(self) -> list[Estimate]:
        """Return the variance of the means themselves, with its standard error."""
        if self.total.isnan().any():
            return []
        errors = self.total * (2 / self.freedom).sqrt()
        both = zip((self.total - self.noise).tolist(), errors.tolist(), strict=True)
        return [Estimate(variance, error) for variance, error in both]

    def verdicts(self) -> tuple[Tensor, Tensor]:
        r"""Return which dimensions are surely active, and which are surely not.

        If the variance of the means were the threshold, ν s² / (0.01 + noise) would follow χ² with
        ν degrees of freedom, s² being the total. Bonferroni's correction divides the level by L.
        """
        half = self.freedom / 2
        at = half * self.total / (ACTIVE + self.noise)
        level = LEVEL / len(half)
        active = torch.special.gammaincc(half, at) < level
        return active, torch.special.gammainc(half, at) < level


def _spread(model: VAE, x: Data, images: int, draws: int, world: World) -> _Spread:
    r"""Measure the spread over some images.

    .. math:: ν = \frac{2 s^4}{\mathrm{Var}(s^2)}

    is N − 1 of normal means, and less where a few images lie far out (Satterthwaite 1946).
    """
    nothing = torch.zeros(0, model.posterior.latent, dtype=torch.float64)
    means, noises = [nothing], [nothing]
    for batch in batches(world.part(evenly_spaced(x, images))):
        mean, noise = _mean(model.infer(batch.to(model.device)), draws)
        means.append(mean.cpu().double())
        noises.append(noise.cpu().double())
    each = torch.cat(means)
    center = world.sum(each.sum(0)) / images
    squares = (each - center).square()
    second = world.sum(squares.sum(0)) / images
    fourth = world.sum(squares.square().sum(0)) / images
    noise = world.sum(torch.cat(noises).sum(0)) / images
    # One image has no variance, which NaN says: every dimension is undecided.
    total = second * images / (images - 1) if images > 1 else second + torch.nan
    freedom = 2 * images * second.square() / (fourth - second.square()).clamp_min(0)
    return _Spread(total, noise, freedom.nan_to_num(torch.inf).clamp(max=images - 1))


def _mean(q: Distribution, draws: int) -> tuple[Tensor, Tensor]:
    """Return E_q[z] (B, L), and the variance that its estimate from draws adds."""
    try:
        mean = q.mean
        if mean.isfinite().all():
            return mean, torch.zeros_like(mean)
    except NotImplementedError:  # a flow has no formula
        pass
    moments, block = Moments(), max(1, _BLOCK // q.batch_shape[0])
    for done in range(0, draws, block):
        moments.add(draw(q, (min(block, draws - done),)).z)
    return moments.mean, moments.error.square()


def evenly_spaced(x: Rows, images: int) -> Rows:
    """Return some of the images x (N, *data_shape), from the first to the last."""
    which = torch.linspace(0, len(x) - 1, images, dtype=torch.float64).round().long()
    return cast(Rows, x[which])


def batches(x: Rows) -> tuple[Rows, ...]:
    """Return x in batches, none if it is empty."""
    return cast(tuple[Rows, ...], x.split(BATCH)) if len(x) else ()
