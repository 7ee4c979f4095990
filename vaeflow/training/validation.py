"""The bound on held-out data after an epoch."""

from __future__ import annotations

import torch

from vaeflow.data.examples import Data, as_examples
from vaeflow.evaluation.active_units import batches
from vaeflow.model import VAE
from vaeflow.runtime.ranks import ALONE, World
from vaeflow.training.step import TERMS


@torch.no_grad()
def validate(model: VAE, x: Data, world: World = ALONE) -> dict[str, float]:
    """Return the mean terms per image, weighted if the images are, one draw each, always at β = 1.

    Each rank scores its part of x; sums over the ranks make the means exact.
    """
    x = as_examples(x)
    device = model.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    totals = torch.zeros(len(TERMS), dtype=dtype, device=device)
    for batch in batches(world.part(x)):
        t = model(batch.to(device))
        parts = (t.log_px, t.log_pz, t.log_base, t.log_det, t.log_weight)
        weight = 1 if batch.weight is None else batch.weight
        totals += torch.stack([(p * weight).sum() for p in parts])
    of = len(x) if x.weight is None else x.weight.double().sum().item()
    return dict(zip(TERMS, (world.sum(totals) / of).tolist(), strict=True))
