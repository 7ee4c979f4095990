"""Arrays that a caller gives: one tensor of the model's type, or a refusal by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vaeflow.data.mapped import in_file
from vaeflow.data.places import in_array
from vaeflow.data.precision import warn_of_merged
from vaeflow.data.stored import Stored, Values
from vaeflow.errors import DataError


def as_tensor(name: str, x: object, dtype: torch.dtype, data_shape: tuple[int, ...]) -> Tensor:
    """Return data x (N, *data_shape) as a tensor of one type, without a gradient.

    A warning names values that are distinct, and the same in that type.

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
        x = _from_numpy(name, x)
    if x.is_complex():
        raise DataError(f"{name} holds complex numbers: give their real and imaginary parts")
    if x.layout != torch.strided or x.is_meta or x.is_quantized or x.is_nested:
        raise DataError(f"{name} is no ordinary tensor: give a dense one, with its values")
    if tuple(x.shape[1:]) != data_shape:
        cure = _SINGLE if tuple(x.shape) == data_shape else ""
        if len(data_shape) > 1 and tuple(x.shape[1:]) == (*data_shape[1:], data_shape[0]):
            cure = ": put its channels first, as in numpy.moveaxis(x, -1, 1)"
        raise DataError(
            f"{name} has shape {tuple(x.shape)}, but the model takes (N, {_shape(data_shape)})"
            f"{cure or ': reshape it, or build the model for it'}"
        )
    kept = x.detach().to(dtype)
    if x.dtype in _WIDE:
        warn_of_merged(
            x.detach().cpu().numpy(), in_array(name), kept.new_empty(0).cpu().numpy().dtype
        )
    return kept


def as_values(name: str, x: object, dtype: torch.dtype, data_shape: tuple[int, ...]) -> Values:
    """Return data as `as_tensor` does, but leave float32 of what lies in a file, a memmap, there.

    Raises:
        DataError: as `as_tensor` does.
    """
    if isinstance(x, np.ndarray) and in_file(x) and x.dtype.kind in "buif":
        some = x[:: len(x) // _SOME + 1] if x.ndim else x
        as_tensor(name, some, dtype, data_shape)  # which refuses and warns
        x = Stored(x)
    if not isinstance(x, Stored):
        return as_tensor(name, x, dtype, data_shape)
    if dtype == x.dtype and tuple(x.shape[1:]) == data_shape:
        return x
    return as_tensor(name, x.values(), dtype, data_shape)


_SOME = 10_000  # examples of a file, evenly spaced, that tell what all are like
_WIDE = (torch.int32, torch.int64, torch.uint32, torch.uint64, torch.float64)


_FRAME = (
    "build a model for the splits of the frame, by vaeflow.datasets.Table.of(frame), which then "
    "takes frames as well"
)
_SINGLE = (
    ": write x[None] if x is a single example, or build the model with x.shape[1:] if it was built "
    "with x.shape"
)


def _shape(data_shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, data_shape))


def _cure(x: object) -> str:
    """Return how to make an array of what was given."""
    if isinstance(x, DataLoader | Dataset):
        return "stack its examples, as in torch.stack([example for example, *_ in dataset])"
    if hasattr(x, "to_numpy") and hasattr(x, "columns"):
        return _FRAME
    if hasattr(x, "to_numpy"):
        return "give its numbers, as in x.to_numpy('float32')"
    if hasattr(x, "__arrow_c_stream__"):
        return _FRAME
    if hasattr(x, "train") and hasattr(x, "validation"):
        return "give one of its splits, as in model.examples(splits, split='test')"
    if isinstance(x, Mapping):
        return "give one of its values"
    if isinstance(x, list | tuple):
        return "stack its examples, as in numpy.stack(x), without labels"
    return "convert it first"


def _from_numpy(name: str, x: np.ndarray[Any, Any]) -> Tensor:
    if isinstance(x, np.ma.MaskedArray):
        raise DataError(f"{name} is a masked array: fill it or drop its rows, as in x.filled(0)")
    if x.dtype.kind == "c":
        raise DataError(f"{name} holds complex numbers: give their real and imaginary parts")
    if x.dtype.kind not in "biuf":
        raise DataError(
            f"{name} is an array of {x.dtype}, but numbers are expected: convert it with "
            "astype('float32')"
        )
    if x.dtype.itemsize > 8:  # longer than float64, which torch lacks
        x = x.astype(np.float64)
    # A copy in this machine's order of bytes: torch shares no memory that is read-only or reversed.
    return torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("=")))
