"""Data too far from unit scale for a training to get anywhere."""

from __future__ import annotations

import math

import torch
from torch.distributions import constraints

from vaeflow.data.examples import Examples
from vaeflow.data.stored import chunks, ends
from vaeflow.errors import DataError, NonFiniteError
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.training.finite import SCORED
from vaeflow.training.first_pass import buffers_kept

# Nats per value, from which first steps are thrown far away. Grey levels from 0 to 255 under a
# Gaussian with σ = 1 start at 4,000 or more; digits from 0 to 100, which are learned, at 1,200.
_ABSURD = 3000.0
_UNIT = 10.0  # data of larger values are not of unit scale
_SHOWN = 100  # examples that are scored


def check_scale(model: VAE, train: Examples, blame: Blame) -> None:
    """Refuse data whose scale makes the first loss absurd.

    Networks start with outputs near 1, and see the data as they are where `--scaling` is raw. A
    likelihood of values with bounds, or of counts, refuses or rescales by itself.

    Arguments:
        model: on its device.
        train: the training data; the first of them are scored.
        blame: how messages call the parts.

    Raises:
        DataError: if −log p(x|z) of most of them is above 3,000 nats per value.
        NonFiniteError: if it is not finite.
    """
    if model.scaling.kind != "raw" or model.likelihood.support is not constraints.real:
        return
    low, high = ends(train.x)
    largest = max(-low, high)
    if not _UNIT < largest < SCORED:
        return
    shown = train[:_SHOWN].read().to(model.device)
    with torch.no_grad(), buffers_kept(model), blame.at(lambda: "on a first batch"):
        # A few examples that are far off are no matter of the scale.
        each = model(shown, 1).log_px[0].nan_to_num(-math.inf, neginf=-math.inf)
    loss = -each.median().item() / math.prod(model.data_shape)
    if loss <= _ABSURD:
        return
    finite, scale = math.isfinite(loss), _scale(train, low, high)
    told = f"is {loss:.2g} nats per value, too much to learn from" if finite else "is not finite"
    raise (DataError if finite else NonFiniteError)(
        f"the training data lies in [{low:g}, {high:g}], where the first loss {told}: let the "
        "networks see it standardized (--scaling standardize), or divide it by "
        f"{scale:g} (--dataset.scale {scale:g})"
    )


def _scale(train: Examples, low: float, high: float) -> float:
    """Return 255 for whole numbers from 0 to 255, or the power of 10 that brings data near 1."""
    whole = all(bool((part == part.round()).all()) for _, part in chunks(train.x))
    if whole and low >= 0 and 100 < high <= 255:
        return 255.0
    return float(10.0 ** math.ceil(math.log10(max(-low, high))))
