"""The bound on held-out data after an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.evaluation.active_units import batches
from vaeflow.model import VAE
from vaeflow.runtime.ranks import ALONE, World
from vaeflow.training.step import TERMS


@torch.no_grad()
def validate(model: VAE, x: Tensor, world: World = ALONE) -> dict[str, float]:
    """Return the mean terms per image, one draw each, always at β = 1.

    Each rank scores its part of x; sums over the ranks make the means exact.
    """
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    totals = torch.zeros(len(TERMS), dtype=dtype, device=x.device)
    for batch in batches(world.part(x)):
        t = model(batch)
        parts = (t.log_px, t.log_pz, t.log_base, t.log_det, t.log_weight)
        totals += torch.stack([p.sum() for p in parts])
    return dict(zip(TERMS, (world.sum(totals) / len(x)).tolist(), strict=True))
