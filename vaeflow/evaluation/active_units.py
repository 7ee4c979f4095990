"""Active units: the latent dimensions that depend on the image."""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.distributions.draw import draw
from vaeflow.model import VAE
from vaeflow.runtime.ranks import ALONE, World

BATCH = 500
_DRAWS = 32
_IMAGES = 1000
_ACTIVE = 0.01  # the threshold of Burda et al. on the variance


@torch.no_grad()
def active_units(model: VAE, x: Tensor, world: World = ALONE) -> int:
    r"""Count the latent dimensions with :math:`\mathrm{Var}_x(E_{q(z|x)}[z_i]) > 0.01`.

    Burda et al. 2016, section 5.2. The mean of q is estimated from draws, as a flow's is not known
    in closed form; the variance that the draws add to their mean is subtracted.
    """
    x = x[:_IMAGES]
    if len(x) < 2:
        return 0
    means = noises = x.new_zeros(0, model.posterior.latent)
    for batch in batches(world.part(x)):
        z = draw(model.infer(batch), (_DRAWS,)).z
        means = torch.cat([means, z.mean(0)])
        noises = torch.cat([noises, z.var(0) / _DRAWS])
    mean = world.sum(means.sum(0)) / len(x)
    spread = world.sum((means - mean).square().sum(0)) / (len(x) - 1)
    noise = world.sum(noises.sum(0)) / len(x)
    return int((spread - noise > _ACTIVE).sum())


def batches(x: Tensor) -> tuple[Tensor, ...]:
    """Return x in batches, none if it is empty."""
    return x.split(BATCH) if len(x) else ()
