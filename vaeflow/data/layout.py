"""The axes of an array: which of them is the channels, and how long the grid is.

An example is a signal (times), a picture (height, width) or a volume (depth, height, width), with
the channels before the grid, as torch takes them. Files of TensorFlow, NumPy and Pillow put the
channels last.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from vaeflow.data.places import Index, Place
from vaeflow.errors import DataError

Layout = Literal["first", "last", "none"]

_CHANNELS = ((1, 3), (2, 4))  # how many there are, likely and less so: grey, RGB; a pair, RGBA
_LONG = 8  # a signal is at least as many times longer than it has channels


def dimensions_of(data_shape: tuple[int, ...]) -> int:
    """Return the axes of the grid of an example: 1 of a signal, 2 of a picture, 3 of a volume.

    One axis is a signal. Two are a picture, or the channels of a signal where the second is at
    least 8 times the first; three are the channels of a picture, four those of a volume.
    """
    axes = len(data_shape)
    if axes == 2:
        channels, length = data_shape
        return 1 if length >= _LONG * channels else 2
    return 1 if axes < 2 else min(axes - 1, 3)


def called(data_shape: tuple[int, ...]) -> str:
    """Return what messages call an example: "image" or, of a table or a signal, "example"."""
    return "image" if dimensions_of(data_shape) > 1 else "example"


def layout_of(shape: tuple[int, ...], name: str) -> Layout:
    """Read off a shape (N, …) where the channels are: "first", "last" or "none".

    Pictures and volumes have them at the axis of the two ends that has 1 or 3 values, else 2 or 4;
    a volume (N, depth, height, width) has none. A signal has them at its shorter axis. What has no
    axis of channels besides, such as a picture (N, height, width), is "first".

    Raises:
        DataError: if channels first and last both fit.
    """
    return _of_signals(shape) if len(shape) < 4 else _of_grids(shape, name)


def channels_first(x: np.ndarray, layout: Layout) -> np.ndarray:
    """Return examples (N, …) with the axis of their channels before the grid."""
    if layout == "last":
        return np.moveaxis(x, -1, 1)
    return x[:, None] if layout == "none" else x


def place_before(place: Place, layout: Layout) -> Place:
    """Return the place, in the array as it came, of a value of `channels_first`."""
    if layout == "first":
        return place

    def at(index: Index) -> str:
        if len(index) == 1:
            return place(index)
        example, channel, *grid = index
        return place([example, *grid, *([channel] if layout == "last" else [])])

    return at


def guessed(shape: tuple[int, ...], layout: Layout, name: str) -> str:
    """Return the sentence that says what `layout_of` took a shape for, "" where it is the usual."""
    example = np.broadcast_to(np.float32(0), shape)  # takes no memory
    taken = channels_first(example, layout).shape[1:]
    signals = len(taken) == 2 and dimensions_of(taken) == 1 and taken[0] > 1
    if layout == "first" and not signals:
        return ""
    others = [known for known in ("first", "last", "none") if known != layout]
    return (
        f"{name} of shape {shape} is taken as {_described(taken)}: --dataset.layout "
        f"{' or '.join(others)} takes it otherwise"
    )


def _of_signals(shape: tuple[int, ...]) -> Layout:
    """Return the layout of (N, a, b), of which pictures stay as they are, and of (N, a)."""
    return "last" if len(shape) == 3 and shape[1] >= _LONG * shape[2] else "first"


def _of_grids(shape: tuple[int, ...], name: str) -> Layout:
    """Return the layout of pictures (N, a, b, c), or of more axes."""
    for likely in _CHANNELS:
        first, last = shape[1] in likely, shape[-1] in likely
        if first and last:
            one, other = _described(shape[1:]), _described((shape[-1], *shape[1:-1]))
            raise DataError(
                f"{name} of shape {shape} may be {one}, or {other} with the channels last: give "
                "--dataset.layout first or --dataset.layout last"
            )
        if first or last:
            return "first" if first else "last"
    return "none" if len(shape) == 4 else "first"


def _described(shape: tuple[int, ...]) -> str:
    """Return "pictures of 64×78 with 1 channel"."""
    dimensions = dimensions_of(shape)
    count, grid = math.prod(shape[:-dimensions]), "×".join(map(str, shape[-dimensions:]))
    kind = ("signals", "pictures", "volumes")[dimensions - 1]
    grid = f"length {grid}" if dimensions == 1 else grid
    return f"{kind} of {grid} with {count} channel{'s' * (count > 1)}"
