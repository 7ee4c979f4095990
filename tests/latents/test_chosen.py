"""The columns that a picture draws: the first ones, or those that are named."""

import logging

import numpy as np
import pytest

from vaeflow.data.columns import Column, Columns
from vaeflow.errors import ConfigError
from vaeflow.latents.chosen import FIRST, check_columns
from vaeflow.latents.plane import Manifold
from vaeflow.latents.showing import Walks

TABLE = Columns(tuple(Column(f"c{i}", "number") for i in range(FIRST + 2)))
X = np.random.RandomState(0).randn(2, 3, len(TABLE)).astype(np.float32)
PLANE = np.stack(np.meshgrid(np.arange(3.0), np.arange(3.0)), -1)


def walks(rows, drawn=None):
    return Walks(X[: len(rows)], [0.0, 0.5, 1.0], "share", rows, {}, TABLE, (0, 1), drawn)


def pictures(drawn=None):
    maps = np.random.RandomState(1).randn(3, 3, len(TABLE))
    yield walks([""], drawn).figure("one walk")
    yield walks(["z0", "z1"], drawn).figure("two walks")
    yield Manifold(PLANE, maps, TABLE, drawn=drawn, given="site=a").figure()


def titles(figure):
    return list(dict.fromkeys(axes.get_title() for axes in figure.axes if axes.get_title()))


def test_all_pictures_draw_the_same_columns_and_say_which_are_left_out(caplog):
    caplog.set_level(logging.INFO, "vaeflow")
    note = f"the first {FIRST} of {FIRST + 2} columns are drawn, without c{FIRST}, c{FIRST + 1}"
    for figure in pictures():
        assert titles(figure) == list(TABLE.names[:FIRST])
        assert note in figure.get_supxlabel()
    assert caplog.messages == [f"{note}: --columns chooses"] * 3
    assert figure.get_suptitle() == "E[x|z], site=a"


def test_columns_are_drawn_in_the_order_in_which_they_are_named(caplog):
    caplog.set_level(logging.INFO, "vaeflow")
    wanted = [TABLE.names[-1], TABLE.names[1]]
    for figure in pictures(wanted):
        assert titles(figure) == wanted
        assert "columns" not in figure.get_supxlabel()
    assert not caplog.messages


def test_walks_of_a_table_are_wrapped_and_share_the_scale_of_a_column():
    figure = walks(["z0", "z1"]).figure("two")
    assert figure.get_size_inches()[0] < 11
    first, second = (axes.get_ylim() for axes in (figure.axes[0], figure.axes[FIRST]))
    assert first == second


def test_a_column_that_is_not_there_is_refused(one_sentence):
    for wanted, shape, words in (
        (["c99"], (14,), "no such column"),
        ([], (14,), "no such column"),
        (["c1"], (1, 8, 8), r"shape \(1, 8, 8\) and no columns"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            check_columns(wanted, TABLE, shape)
        one_sentence(str(caught.value))
