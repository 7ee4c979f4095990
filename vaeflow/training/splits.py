"""Training data: checked, and binarized or dequantized where once is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import constraints

from vaeflow.data.binarization import Binarization, prepare_split, redraw
from vaeflow.data.checks import check_values
from vaeflow.data.examples import Data, Examples, as_examples
from vaeflow.data.places import Place, by_index
from vaeflow.data.stored import Stored, Values
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.arrays import held_out_split
from vaeflow.model import VAE
from vaeflow.training.feed import Fed, placed


@dataclass(frozen=True, eq=False, repr=False)
class TrainingData:
    """The images of a training, each split (N, *data_shape), on its device if there is room.

    `redraw` is applied to each training batch at each visit: it binarizes grey values or spreads
    levels by new noise. None leaves the batches as they are.
    """

    train: Examples
    validation: Examples | None
    redraw: Callable[[Tensor], Tensor] | None


def training_data(
    train: Data,
    validation: Data | None,
    model: VAE,
    binarization: Binarization,
    levels: int | None,
    device: torch.device,
    batch_size: int,
    places: Mapping[str, Place],
) -> TrainingData:
    """Return both splits, checked, and on the device or fed to it.

    Arguments:
        batch_size: of a step.
        places: how messages call a value of "train" or "validation"; by default by its index.

    Raises:
        ConfigError: if the likelihood cannot score dequantized data.
        DataError: if it cannot score the data, or the data is of another type than the weights.
    """
    place = places.get("train") or by_index("training")
    data = as_examples(train)
    _check_training(data.x, model, binarization, levels, place)
    x = placed(data.x, device, "training")
    if isinstance(x, Stored) and not (x.resident and x.device == device):
        x = Fed(x, device, min(batch_size, len(x)))
    held_out = None
    if validation is not None:
        place = places.get("validation") or by_index("validation")
        held_out = held_out_split("validation", validation, model, binarization, levels, place)
        held_out = _placed(held_out, placed(held_out.x, device, "validation"), device)
    again = redraw(binarization, levels, gaps=model.missing)
    return TrainingData(_with_mean_one(_placed(data, x, device)), held_out, again)


def _placed(data: Examples, x: Values, device: torch.device) -> Examples:
    """Return examples whose values have their place, and the rest beside them on the device."""
    beside = replace(data, x=torch.empty(0)).to(device)
    return replace(beside, x=x)


def _with_mean_one(data: Examples) -> Examples:
    """Return data with the mean of its weights 1: the learning rate means what it always does."""
    if data.weight is None:
        return data
    return replace(data, weight=data.weight / data.weight.double().mean().to(data.weight))


def _check_training(
    x: Values, model: VAE, binarization: Binarization, levels: int | None, place: Place
) -> None:
    """Check training data as a step sees it; it stays as given, for `redraw` to draw from."""
    gaps = model.missing
    _check_dtype(x, model)
    support = model.likelihood.support
    if levels is not None and support.is_discrete:
        raise ConfigError(
            f"--dequantize {levels} spreads levels for a density, but the likelihood "
            f"{type(model.likelihood).__name__} scores discrete values: leave it out, or use "
            "--likelihood gaussian"
        )
    if binarization == "dynamic":
        unit = constraints.unit_interval
        check_values("training", x, model.data_shape, unit, place, gaps=gaps)
        return
    seen = prepare_split(x, binarization, levels, place, gaps=gaps)
    check_values("training", seen, model.data_shape, support, place, gaps=gaps)


def _check_dtype(x: Values, model: VAE) -> None:
    wanted = next((p.dtype for p in model.parameters()), torch.float32)
    kind = x.dtype if isinstance(x, Tensor | Stored) else type(x).__name__
    if kind != wanted:
        raise DataError(
            f"the training data is {kind}, but the model's weights are {wanted}: convert the "
            "data to a tensor of that type"
        )
