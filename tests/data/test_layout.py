"""Which axis of an array is taken for its channels."""

from __future__ import annotations

import numpy as np
import pytest

from vaeflow.data.layout import (
    called,
    channels_first,
    dimensions_of,
    guessed,
    layout_of,
    place_before,
)
from vaeflow.data.places import in_array
from vaeflow.errors import DataError

SHAPES = [  # an array's, its layout, and the shape of an example
    ((9, 100), "first", (100,)),
    ((9, 28, 28), "first", (28, 28)),
    ((9, 12, 1000), "first", (12, 1000)),
    ((9, 1000, 12), "last", (12, 1000)),
    ((9, 784, 1), "last", (1, 784)),
    ((9, 3, 32, 32), "first", (3, 32, 32)),
    ((9, 32, 32, 3), "last", (3, 32, 32)),
    ((9, 64, 78, 1), "last", (1, 64, 78)),
    ((9, 32, 32, 4), "last", (4, 32, 32)),
    ((9, 2, 32, 32), "first", (2, 32, 32)),
    ((9, 1, 28, 2), "first", (1, 28, 2)),
    ((9, 16, 20, 24), "none", (1, 16, 20, 24)),
    ((9, 1, 16, 20, 24), "first", (1, 16, 20, 24)),
    ((9, 16, 20, 24, 3), "last", (3, 16, 20, 24)),
    ((9, 8, 16, 20, 24), "first", (8, 16, 20, 24)),
]


@pytest.mark.parametrize(("shape", "layout", "example"), SHAPES, ids=str)
def test_the_shape_tells_the_layout(shape, layout, example, one_sentence):
    assert layout_of(shape, "x") == layout
    x = np.arange(np.prod(shape)).reshape(shape)
    moved = channels_first(x, layout)
    assert moved.shape[1:] == example
    told = guessed(shape, layout, "x")
    assert bool(told) == (layout != "first" or example == (12, 1000))
    if told:
        one_sentence(told)
        assert f"x of shape {shape} is taken as " in told
    # A value of the moved array is found where it was.
    place, index = place_before(in_array("x"), layout), [n - 1 for n in moved.shape]
    told = place(index).removeprefix("x[").removesuffix("]")
    assert x[tuple(map(int, told.split(", ")))] == moved[tuple(index)]


@pytest.mark.parametrize("shape", [(9, 3, 32, 3), (9, 1, 28, 1), (9, 1, 28, 3), (9, 4, 9, 2)])
def test_two_readings_are_refused(shape, one_sentence):
    with pytest.raises(
        DataError, match=r"channels last: give --dataset\.layout first or"
    ) as caught:
        layout_of(shape, "x.npy: array")
    one_sentence(str(caught.value))
    assert f"x.npy: array of shape {shape} may be pictures of " in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "dimensions"),
    [((7,), 1), ((1, 8), 1), ((12, 96), 1), ((12, 95), 2), ((8, 8), 2), ((96, 12), 2),
     ((1, 8, 8), 2), ((1, 4, 8, 8), 3), ((2, 1, 4, 8, 8), 3)],
)  # fmt: skip
def test_the_axes_of_the_grid(shape, dimensions):
    assert dimensions_of(shape) == dimensions


@pytest.mark.parametrize(
    ("shape", "word"),
    [((4,), "example"), ((2, 64), "example"), ((8, 8), "image"), ((1, 8, 8), "image")],
)
def test_an_example_is_called_an_image_where_it_has_a_grid(shape, word):
    assert called(shape) == word
