"""How much each latent dimension tells of data, and the warning of a model where none does.

Shapes: L latent size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from vaeflow.data.examples import Examples
from vaeflow.evaluation.active_units import ACTIVE, active_units
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise

log = logging.getLogger("vaeflow")


def variances_of(model: VAE, data: Examples, seed: int) -> list[float]:
    """Return Var E[z_i|x] over data for each dimension (L,), NaN of a single example."""
    with frozen(model), Noise(seed, model.device).private("active units"), torch.no_grad():
        found = active_units(model, data).variances
    return [one.mean for one in found] or [float("nan")] * model.posterior.latent


def warn_if_collapsed(variances: Sequence[float]) -> None:
    """Warn where no dimension tells anything: a picture of their codes shows the prior's noise."""
    if all(variance < ACTIVE for variance in variances):
        log.warning("no dimension is active: Var E[z_i|x] over the data is below %g", ACTIVE)
