"""Training data: checked, and binarized or dequantized where once is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.data.binarization import Binarization, prepare_split, redraw
from vaeflow.data.checks import check_values
from vaeflow.data.places import Place, by_index
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.arrays import held_out_split
from vaeflow.model import VAE


@dataclass(frozen=True, eq=False, repr=False)
class TrainingData:
    """The images of a training on its device, each split (N, *data_shape).

    `redraw` is applied to each training batch at each visit: it binarizes grey values or spreads
    levels by new noise. None leaves the batches as they are.
    """

    train: Tensor
    validation: Tensor | None
    redraw: Callable[[Tensor], Tensor] | None


def training_data(
    train: Tensor,
    validation: Tensor | None,
    model: VAE,
    binarization: Binarization,
    levels: int | None,
    device: torch.device,
    places: Mapping[str, Place],
) -> TrainingData:
    """Return both splits, checked and on the device.

    Arguments:
        places: how messages call a value of "train" or "validation"; by default by its index.

    Raises:
        ConfigError: if the likelihood cannot score dequantized data.
        DataError: if it cannot score the data, or the data is of another type than the weights.
    """
    place = places.get("train") or by_index("training")
    seen = _training_split(train, model, binarization, levels, place).to(device)
    if validation is not None:
        place = places.get("validation") or by_index("validation")
        held_out = held_out_split("validation", validation, model, binarization, levels, place)
        validation = held_out.to(device)
    return TrainingData(seen, validation, redraw(binarization, levels))


def _training_split(
    x: Tensor, model: VAE, binarization: Binarization, levels: int | None, place: Place
) -> Tensor:
    """Return training data for `model`; values to be drawn anew at each visit stay as given."""
    _check_dtype(x, model)
    support = model.likelihood.support
    if levels is not None and support.is_discrete:
        raise ConfigError(
            f"--dequantize {levels} spreads levels for a density, but the likelihood "
            f"{type(model.likelihood).__name__} scores discrete values: leave it out, or use "
            "--likelihood gaussian"
        )
    if binarization == "dynamic":
        check_values("training", x, model.data_shape, constraints.unit_interval, place)
        return x
    seen = prepare_split(x, binarization, levels, place)
    check_values("training", seen, model.data_shape, support, place)
    return seen if levels is None else x


def _check_dtype(x: Tensor, model: VAE) -> None:
    wanted = next((p.dtype for p in model.parameters()), torch.float32)
    kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
    if kind != wanted:
        raise DataError(
            f"the training data is {kind}, but the model's weights are {wanted}: convert the "
            "data to a tensor of that type"
        )
