"""Weights of examples in an objective and in figures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaeflow.errors import DataError


def checked_weights(name: str, weights: object, count: int) -> Tensor | None:
    """Return the weight of each of N examples as float32 (N,), or None.

    Arguments:
        name: what messages call them.
        weights: numbers of at least 0, of which one is above 0, or None.
        count: N.

    Raises:
        DataError: if they are no such numbers.
    """
    if weights is None:
        return None
    try:
        values = torch.from_numpy(np.asarray(weights, np.float64).astype(np.float32))
    except (TypeError, ValueError):
        raise DataError(f"{name} holds other values than numbers: give a number ≥ 0 each") from None
    if values.shape != (count,):
        raise DataError(
            f"{name} has shape {tuple(values.shape)}, but one weight for each of {count} examples "
            "is expected"
        )
    bad = ~(values.isfinite() & (values >= 0))
    if bad.any():
        i = int(bad.nonzero()[0])
        raise DataError(
            f"{name} of example {i} is {values[i].item():g}, but a number ≥ 0 is expected: correct "
            "it or drop the example"
        )
    if not (values > 0).any():
        raise DataError(f"{name} is 0 for every example: give one of them a weight above 0")
    return values
