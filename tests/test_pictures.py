"""Grids of images, and PNG files that hold their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vaeflow.errors import ConfigError, StorageError
from vaeflow.pictures import (
    curves,
    draw,
    grid,
    is_image,
    is_signal,
    require_drawable,
    span_of,
    write_png,
)


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
        require_drawable(shape)


@pytest.mark.parametrize(
    ("shape", "is_one"),
    [
        ((64,), True), ((16,), True), ((15,), False), ((1, 16), True), ((12, 96), True),
        ((12, 90), False), ((1, 8, 8), False),
    ],
)  # fmt: skip
def test_what_is_a_signal(shape, is_one):
    assert is_signal(shape) is is_one


@pytest.mark.parametrize("shape", [(2, 8, 8), (), (5,), (1, 3, 8, 8)])
def test_what_cannot_be_drawn_is_refused(shape, one_sentence):
    with pytest.raises(ConfigError, match=r"no picture .* --out FILE\.npz") as caught:
        require_drawable(shape)
    one_sentence(str(caught.value))
    with pytest.raises(ConfigError):
        draw(torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("ends", "span"),
    [((0, 1), (0, 1)), ((0.2, 0.7), (0, 1)), ((-1, 1), (-1, 1)), ((-0.3, 0.9), (-1, 1)),
     ((-3.5, 4.2), (-3.5, 4.2)), ((0, 255), (0, 255)), ((-0.2, 1.1), (-0.2, 1.1))],
)  # fmt: skip
def test_the_span_of_data(ends, span):
    assert span_of(*ends) == span


@pytest.mark.parametrize("span", [(-1.0, 1.0), (-3.0, 5.0), (0.0, 255.0)])
def test_pictures_keep_all_values_of_their_span(span):
    low, high = span
    x = torch.linspace(low, high, 12).reshape(1, 3, 4)
    tile = draw(x, span=span)[0, 1:-1, 1:-1]
    torch.testing.assert_close(tile, torch.linspace(0, 1, 12).reshape(3, 4))
    constant = draw(torch.full((1, 2, 2), 3.0), span=(3.0, 3.0))
    assert constant.isfinite().all()


def test_several_pictures_of_an_example_stand_side_by_side():
    x, y = torch.zeros(5, 1, 2, 2), torch.ones(5, 1, 2, 2)
    picture = draw(x, y, across=2)
    assert picture.shape == (1, 3 * 4, 4 * 4)
    assert torch.equal(picture, grid(torch.stack([x, y], 1).flatten(0, 1), columns=4))


class TestCurves:
    def test_each_example_has_a_cell_and_its_line_goes_where_the_values_are(self):
        rise = torch.linspace(0, 1, 40)
        picture = curves(torch.stack([rise, 1 - rise, torch.zeros(40)]), across=2)
        _, height, width = picture.shape
        cells = picture.reshape(3, 2, height // 2, 2, width // 2).permute(1, 3, 0, 2, 4)
        inner = [cell[:, 4:-4, 4:-4].mean(0) for cell in (cells[0, 0], cells[0, 1], cells[1, 0])]
        columns = [darkest.argmin(0).float() for darkest in inner]  # the row of the line
        assert columns[0][5] > columns[0][-5] + 30
        assert columns[1][-5] > columns[1][5] + 30
        assert (columns[2][5:-5] == columns[2][5]).all()
        assert cells[1, 1][:, 4:-4, 4:-4].min() == 1  # no example is left for it

    def test_each_channel_has_a_colour(self):
        one = curves(torch.rand(1, 1, 30))
        two = curves(torch.rand(1, 2, 30))

        def hues(x):
            return len({tuple(p) for p in (x.flatten(1).T * 15).round().int().tolist()})

        assert hues(two) > 1.5 * hues(one)

    def test_data_and_reconstruction_are_over_each_other(self):
        x = torch.rand(2, 30)
        picture = draw(x, x + 1, across=2)
        assert picture.shape == curves(x, across=2).shape
        assert ((picture.max(0).values - picture.min(0).values < 0.02) & (picture[0] < 0.5)).any()
        assert (picture.max(0).values - picture.min(0).values > 0.3).any()

    def test_gaps_and_single_points(self):
        x = torch.tensor([[torch.nan, 1, torch.nan, 2, 3, torch.inf]])
        assert curves(x).isfinite().all()
        assert curves(torch.full((1, 4), torch.nan)).isfinite().all()
        assert curves(torch.ones(1, 1)).min() < 0.9


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
