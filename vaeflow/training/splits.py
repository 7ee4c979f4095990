"""Training data: checked, and binarized or dequantized where that is done once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.data.binarization import Binarization, prepare_split
from vaeflow.data.checks import check_values
from vaeflow.errors import ConfigError, DataError
from vaeflow.model import VAE


def training_split(x: Tensor, model: VAE, binarization: Binarization, levels: int | None) -> Tensor:
    """Return training data for `model`; what is drawn anew at each visit is left as it is.

    Raises:
        ConfigError: if the likelihood cannot score dequantized data.
        DataError: if it cannot score the data, or the data is of another type than the weights.
    """
    _check_dtype(x, model)
    support = model.likelihood.support
    if levels is not None and support.is_discrete:
        raise ConfigError(
            f"--dequantize {levels} spreads levels for a density, but the likelihood "
            f"{type(model.likelihood).__name__} scores discrete values: leave it out, or use "
            "--likelihood gaussian"
        )
    if binarization == "dynamic":
        check_values("training", x, model.data_shape, constraints.unit_interval)
        return x
    seen = prepare_split(x, binarization, levels)
    check_values("training", seen, model.data_shape, support)
    return seen if levels is None else x


def _check_dtype(x: Tensor, model: VAE) -> None:
    wanted = next((p.dtype for p in model.parameters()), torch.float32)
    kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
    if kind != wanted:
        raise DataError(
            f"the training data is {kind}, but the model's weights are {wanted}: convert the "
            "data to a tensor of that type"
        )
