"""Columns of a data set as arrays whose rows are read by their index.

Shapes: N examples, B of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vaeflow.parts import DataError

_MODES = {1: "L", 3: "RGB"}
_GREY = ("1", "L", "LA")


class ImageColumn:
    """Images of one size, as bytes (N, channels, height, width).

    Arguments:
        rows: the data set.
        name: of the column.
        size: height and width to which images are brought, cutting out the middle, or None.
        channels: 1 for grey, 3 for colour; None takes the first image's.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, rows: Any, name: str, size: tuple[int, int] | None, channels: int | None
    ) -> None:
        self._rows = rows.select_columns([name])
        self._name = name
        first = self._rows[0][name]
        self._resized = size is not None
        self._given = channels
        self._channels = channels or (1 if first.mode in _GREY else 3)
        height, width = size or (first.height, first.width)
        self.shape = (len(rows), self._channels, height, width)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the images of some rows, chosen by a slice or by an array of their indices."""
        which = np.arange(self.shape[0])[rows]
        found = np.empty((len(which), *self.shape[1:]), self.dtype)
        images = self._rows[which.tolist()][self._name] if len(which) else []
        for i, (index, image) in enumerate(zip(which.tolist(), images, strict=True)):
            found[i] = self._pixels(index, image)
        return found

    def _pixels(self, index: int, image: Any) -> np.ndarray:
        from PIL import Image, ImageOps

        if image is None:
            raise DataError(f"{_place(index, self._name)} has no image: drop the row")
        if self._given is None and (image.mode in _GREY) != (self._channels == 1):
            raise DataError(
                f"{_place(index, self._name)} is an image of mode {image.mode}, which the "
                "first is not: give --dataset.channels 1 or 3 to turn all into grey or colour"
            )
        height, width = self.shape[2:]
        image = ImageOps.exif_transpose(image).convert(_MODES[self._channels])
        if image.size != (width, height):
            if not self._resized:
                raise DataError(
                    f"{_place(index, self._name)} has {image.height}×{image.width} pixels, "
                    f"but the first has {height}×{width}: give --dataset.size {height},{width}"
                )
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)


class ArrayColumn:
    """Arrays or lists of numbers, all of the first one's shape: (N, …).

    Arguments:
        rows: the data set.
        name: of the column.
    """

    def __init__(self, rows: Any, name: str) -> None:
        self._rows = rows.select_columns([name]).with_format("arrow")
        self._name = name
        first = self._numbers([0])
        if first is None or first.dtype.kind not in "buif" or 0 in first.shape:
            raise DataError(
                f"column {name!r} holds {rows.features[name]}, but images, or arrays or lists of "
                "numbers, are data: name another column by --dataset.column"
            )
        self.dtype = first.dtype
        self.shape = (len(rows), *first.shape[1:])

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the arrays of some rows, chosen by a slice or by an array of their indices."""
        which = np.arange(self.shape[0])[rows].tolist()
        if not which:
            return np.empty((0, *self.shape[1:]), self.dtype)
        found = self._numbers(which)
        if found is not None and found.shape[1:] == self.shape[1:]:
            return found
        for row in which:  # which of them is it?
            one = self._numbers([row])
            if one is None or one.shape[1:] != self.shape[1:]:
                shape = "a gap or lists of several lengths" if one is None else one.shape[1:]
                raise DataError(
                    f"{_place(row, self._name)} has shape {shape}, but the first has "
                    f"{self.shape[1:]}: give all rows one shape, or drop the row"
                )
        raise AssertionError("one of the rows is odd")

    def _numbers(self, which: list[int]) -> np.ndarray | None:
        """Return the numbers of some rows, or None where their lists differ in length."""
        values, shape = self._rows[which].column(0).combine_chunks(), [len(which)]
        while True:
            values = getattr(values, "storage", values)  # of a type that `datasets` adds to Arrow's
            if hasattr(values.type, "list_size"):
                length = values.type.list_size
            elif hasattr(values, "value_lengths"):
                length, *others = set(values.value_lengths().to_pylist()) or {0}
                if others:
                    return None
            else:
                break
            if values.null_count:
                return None
            shape.append(length)
            values = values.flatten()
        numbers: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(shape)
        return numbers


def _place(row: int, column: str) -> str:
    return f"row {row} of its split, column {column!r}"


def labels(rows: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of single values (N,): numbers with NaN, or texts with None, where missing."""
    return {name: _label(rows, name) for name in names}


def _label(rows: Any, name: str) -> np.ndarray:
    from datasets import ClassLabel

    feature = rows.features[name]
    values = list(rows.with_format(None).select_columns([name])[:][name])
    if isinstance(feature, ClassLabel):
        return np.array([None if v in (None, -1) else feature.int2str(v) for v in values], object)
    if any(isinstance(value, str | bool) for value in values):
        return np.array([None if v is None else str(v) for v in values], object)
    return np.array([np.nan if v is None else v for v in values], np.float64)
