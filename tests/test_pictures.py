"""Grids of images, and PNG files that hold their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vaeflow.errors import ConfigError, StorageError
from vaeflow.pictures import grid, is_image, require_image, write_png


@pytest.mark.parametrize(
    ("shape", "is_one"),
    [
        ((8, 8), True),
        ((1, 8, 5), True),
        ((3, 8, 8), True),
        ((2, 8, 8), False),
        ((64,), False),
        ((), False),
        ((1, 3, 8, 8), False),
    ],
)
def test_what_is_a_picture(shape, is_one, one_sentence):
    assert is_image(shape) is is_one
    if is_one:
        require_image(shape)
    else:
        with pytest.raises(ConfigError, match=r"no picture .* --out FILE\.npz") as caught:
            require_image(shape)
        one_sentence(str(caught.value))


def test_grid_lays_images_out_by_rows():
    images = torch.arange(1, 6).float()[:, None, None].expand(5, 2, 3) / 10
    picture = grid(images, columns=2)
    assert picture.shape == (1, 3 * (2 + 2), 2 * (3 + 2))
    for i in range(5):
        row, column = divmod(i, 2)
        tile = picture[0, 4 * row + 1 : 4 * row + 3, 5 * column + 1 : 5 * column + 4]
        assert torch.all(tile == images[i])
    border = picture.clone()
    for row in range(3):
        for column in range(2):
            border[0, 4 * row + 1 : 4 * row + 3, 5 * column + 1 : 5 * column + 4] = 0.5
    assert torch.all(border == 0.5)  # around every tile, and in the place that is left over
    assert torch.all(picture[0, 9:11, 6:9] == 0.5)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (5, 2, 3), (64, 8, 8)])
def test_grid_is_as_square_as_the_count_allows(count, rows, columns):
    assert grid(torch.zeros(count, 3, 2, 2)).shape == (3, rows * 4, columns * 4)


def test_grid_clips_values_and_drops_gradients():
    picture = grid(torch.tensor([[[-1.0, 2.0]]], requires_grad=True))
    assert not picture.requires_grad
    assert picture[0, 1, 1:3].tolist() == [0, 1]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_png_holds_the_picture_magnified(tmp_path, channels, mode):
    picture = torch.linspace(0, 1, channels * 6).reshape(channels, 2, 3)
    write_png(picture, tmp_path / "x.png", least=9)
    with Image.open(tmp_path / "x.png") as image:
        assert (image.mode, image.size) == (mode, (9, 6))
        values = np.asarray(image).reshape(6, 9, channels)
    expected = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(values[::3, ::3], expected)
    assert np.array_equal(values, expected.repeat(3, 0).repeat(3, 1))


def test_large_picture_is_not_magnified(tmp_path):
    write_png(torch.zeros(1, 40, 60), tmp_path / "x.png", least=32)
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (60, 40)


def test_picture_that_cannot_be_written(tmp_path, one_sentence):
    with pytest.raises(StorageError, match=r"cannot be written \(.*No such file") as caught:
        write_png(torch.zeros(1, 4, 4), tmp_path / "none" / "x.png")
    one_sentence(str(caught.value))
