"""Checks of a dataset.

A dataset without its files raises DataError, and is not checked; nothing is downloaded.
"""

from __future__ import annotations

import socket
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import torch

from vaeflow.data.splits import Splits
from vaeflow.errors import DataError
from vaeflow.testing.registered import MakePart, Unavailable, register


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise OSError("the checks download nothing")


def _load(part: MakePart) -> Splits:
    """Load the dataset from the files at hand.

    Raises:
        Unavailable: if it has no files.
    """
    with (
        mock.patch.object(socket, "getaddrinfo", _refuse),
        mock.patch.object(socket.socket, "connect", _refuse),
    ):
        try:
            splits = part(None).load()
        except DataError as error:
            raise Unavailable(f"it has no data here: {error}") from None
    assert isinstance(splits, Splits), f"load() returns {type(splits).__name__}, not Splits"
    return splits


@register("dataset", core=True)
def loads_three_splits(part: MakePart) -> None:
    """Training, validation and test data: float32, of one shape, none empty, all finite."""
    splits = _load(part)
    assert splits.data_shape, "an example has no shape: give it at least one axis"
    for name, x in splits:
        assert isinstance(x, torch.Tensor), f"{name} is a {type(x).__name__}, not a tensor"
        assert x.dtype == torch.float32, f"{name} is {x.dtype}, not torch.float32"
        assert x.device.type == "cpu", f"{name} is on {x.device}, not in main memory"
        assert not x.requires_grad, f"{name} requires a gradient"
        assert x.numel() > 0, f"{name} is empty"
        assert tuple(x.shape[1:]) == splits.data_shape, (
            f"{name} examples have shape {tuple(x.shape[1:])}, training ones {splits.data_shape}"
        )
        assert torch.isfinite(x).all(), f"{name} is not finite"


@register("dataset")
def loads_the_same_again(part: MakePart) -> None:
    """Another load gives the same values, whatever the seeds of torch and NumPy."""
    first = _load(part).fingerprint()
    torch.manual_seed(1)
    state = np.random.get_state()
    np.random.seed(1)
    try:
        again = _load(part).fingerprint()
    finally:
        np.random.set_state(state)
    assert again == first, "two loads differ: draw with a generator of the dataset's own"


@register("dataset")
def leaves_the_generator_alone(part: MakePart) -> None:
    """Loading does not seed or use torch's generator, which belongs to the run."""
    torch.manual_seed(13)  # not a seed that a dataset might set by habit
    before = torch.get_rng_state()
    _load(part)
    assert torch.equal(torch.get_rng_state(), before), "loading changes torch's generator"
