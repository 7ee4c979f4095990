"""A scatter plot: levels with marks and names, numbers with a colour bar."""

import numpy as np
import pytest

from vaeflow.latents.figures import as_file
from vaeflow.latents.scatter import scatter

POINTS = np.random.RandomState(0).randn(90, 2)


def legend_of(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(
    "values", [np.arange(90) % 11, np.array([f"{i % 11}" for i in range(90)], object)]
)
def test_levels_have_a_mark_of_their_own_in_their_order(values):
    figure = scatter(POINTS, values, name="cost in $")
    assert legend_of(figure) == [f"{i}" for i in range(11)]
    looks = {(h.get_color(), h.get_marker()) for h in figure.legends[0].legend_handles}
    assert len(looks) == 11
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 90


def test_of_many_levels_the_most_frequent_are_told_apart():
    values = np.array(["a", "b"] * 30 + [f"n{i}" for i in range(29)] + [""], object)
    names = legend_of(scatter(POINTS, values))
    assert {"a", "b"} < set(names)
    assert names[-2:] == ["11 others", "missing (1)"]


def test_numbers_have_a_colour_bar():
    figure = scatter(POINTS, np.where(np.arange(90) == 3, np.nan, POINTS[:, 0]), name="age")
    assert [axes.get_ylabel() for axes in figure.axes] == ["z1", "age"]
    assert legend_of(figure) == ["missing (1)"]
    hollow = figure.axes[0].collections[0]
    assert (len(hollow.get_offsets()), len(hollow.get_facecolors())) == (1, 0)
    assert not scatter(POINTS, POINTS[:, 0]).legends
    once, again = (as_file(scatter(POINTS, POINTS[:, 0]), ".svg") for _ in range(2))
    assert once == again
    assert once.startswith(b"<?xml")
    assert as_file(figure, ".png").startswith(b"\x89PNG")
