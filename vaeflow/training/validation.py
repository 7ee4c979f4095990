"""The bound on held-out data after an epoch."""

from __future__ import annotations

import torch

from vaeflow.data.examples import Data, as_examples
from vaeflow.evaluation.active_units import batches
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.ranks import ALONE, World
from vaeflow.training.step import TERMS


@torch.no_grad()
def validate(
    model: VAE, x: Data, world: World = ALONE, objective: Objective | None = None
) -> dict[str, float]:
    """Return the mean terms per image, weighted if the images are, always at β = 1.

    They are of one draw each. An objective that weights are selected by takes its own K draws, over
    which the other terms are averaged. Each rank scores its part of x; sums over the ranks make the
    means exact.
    """
    own = objective if objective and objective.selects_by == "objective" else None
    one = torch.ones((), device=model.device)
    x = as_examples(x)
    device = model.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    totals = torch.zeros(len(TERMS), dtype=dtype, device=device)
    for batch in batches(world.part(x)):
        t = model(batch.to(device), own.samples if own else 1)
        value = own(t, one) if own else t.log_weight
        parts = (t.log_px, t.log_pz, t.log_base, t.log_det, value)
        weight = 1 if batch.weight is None else batch.weight
        means = (p.mean(0) if own and p is not value else p for p in parts)
        totals += torch.stack([(p * weight).sum() for p in means])
    of = len(x) if x.weight is None else x.weight.double().sum().item()
    return dict(zip(TERMS, (world.sum(totals) / of).tolist(), strict=True))
