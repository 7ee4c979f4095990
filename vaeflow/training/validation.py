"""The bound on held-out data after an epoch, and the active units."""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.distributions import draw
from vaeflow.model import VAE
from vaeflow.training.parallel import ALONE, World
from vaeflow.training.step import TERMS

BATCH = 500
_DRAWS = 32
_IMAGES = 1000
_ACTIVE = 0.01  # the threshold of Burda et al. on the variance


@torch.no_grad()
def validate(model: VAE, x: Tensor, world: World = ALONE) -> dict[str, float]:
    """Return the mean terms per image, one draw each, always at β = 1.

    Each rank scores its part of x; sums over the ranks make the means exact.
    """
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    totals = torch.zeros(len(TERMS), dtype=dtype, device=x.device)
    for batch in _batches(world.part(x)):
        t = model(batch)
        parts = (t.log_px, t.log_pz, t.log_base, t.log_det, t.log_weight)
        totals += torch.stack([p.sum() for p in parts])
    return dict(zip(TERMS, (world.sum(totals) / len(x)).tolist(), strict=True))


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
    for batch in _batches(world.part(x)):
        z = draw(model.infer(batch), (_DRAWS,)).z
        means = torch.cat([means, z.mean(0)])
        noises = torch.cat([noises, z.var(0) / _DRAWS])
    mean = world.sum(means.sum(0)) / len(x)
    spread = world.sum((means - mean).square().sum(0)) / (len(x) - 1)
    noise = world.sum(noises.sum(0)) / len(x)
    return int((spread - noise > _ACTIVE).sum())


def _batches(x: Tensor) -> tuple[Tensor, ...]:
    return x.split(BATCH) if len(x) else ()
