"""Arrays that a caller gives: one tensor of the model's type, or a refusal by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vaeflow.errors import DataError


def as_tensor(name: str, x: object, dtype: torch.dtype, data_shape: tuple[int, ...]) -> Tensor:
    """Return data x (N, *data_shape) as a tensor of one type, without a gradient.

    Arguments:
        name: what messages call the data.
        x: a NumPy array or a tensor of numbers.
        dtype: the type of the model's weights.
        data_shape: the shape of one example.

    Raises:
        DataError: if x is neither, or of another shape.
    """
    if not isinstance(x, Tensor | np.ndarray):
        raise DataError(
            f"{name} is a {type(x).__name__}, but one NumPy array or tensor (N, "
            f"{_shape(data_shape)}) is expected: {_cure(x)}"
        )
    if isinstance(x, np.ndarray):
        if not np.issubdtype(x.dtype, np.number) and x.dtype != np.bool_:
            raise DataError(
                f"{name} is an array of {x.dtype}, but numbers are expected: convert it with "
                "astype('float32')"
            )
        # A copy where torch cannot share the memory: negative strides, or a read-only array.
        x = torch.from_numpy(np.array(x))
    if x.is_complex():
        raise DataError(f"{name} holds complex numbers: give their real and imaginary parts")
    if tuple(x.shape[1:]) != data_shape:
        single = ": for a single example write x[None]" if tuple(x.shape) == data_shape else ""
        raise DataError(
            f"{name} has shape {tuple(x.shape)}, but the model takes (N, {_shape(data_shape)})"
            f"{single or ': reshape it, or build the model for it'}"
        )
    return x.detach().to(dtype)


def _shape(data_shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, data_shape))


def _cure(x: object) -> str:
    """Return how to make an array of what was given."""
    if isinstance(x, DataLoader | Dataset):
        return "stack its examples, as in torch.stack([example for example, *_ in dataset])"
    if hasattr(x, "to_numpy"):
        return "give its numbers, as in x.to_numpy('float32')"
    if hasattr(x, "train") and hasattr(x, "validation"):
        return "give one of its splits, as in data.train"
    if isinstance(x, Mapping):
        return "give one of its values"
    if isinstance(x, list | tuple):
        return "stack its examples, as in numpy.stack(x)"
    return "convert it first"
