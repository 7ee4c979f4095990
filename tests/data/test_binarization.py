"""Binarization and dequantization: their choice, and their draws for training and evaluation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import constraints

from vaeflow.data.binarization import (
    EVALUATION_SEED,
    binarize,
    dequantize,
    prepare_split,
    redraw,
    resolve_binarization,
)
from vaeflow.errors import ConfigError, DataError

GREY = torch.linspace(0, 1, 24).reshape(6, 2, 2)
BINARY = (GREY > 0.5).float()


@pytest.mark.parametrize(
    ("x", "support", "chosen"),
    [
        (GREY, constraints.boolean, "dynamic"),
        (BINARY, constraints.boolean, "none"),
        (GREY, constraints.real, "none"),
        (GREY, constraints.unit_interval, "none"),
        (GREY * 255, constraints.boolean, "none"),  # the check of the values then complains
        (GREY.log(), constraints.boolean, "none"),
    ],
)
def test_auto_binarizes_grey_data_for_a_binary_likelihood_only(x, support, chosen):
    assert resolve_binarization("auto", x, support) == chosen


def test_auto_on_colours_is_told_with_the_alternatives(caplog, one_sentence):
    x = torch.rand(5, 3, 2, 2)
    assert resolve_binarization("auto", x, constraints.real) == "none"
    assert resolve_binarization("auto", x[:, :1], constraints.boolean) == "dynamic"
    assert not caplog.records
    assert resolve_binarization("auto", x, constraints.boolean) == "dynamic"
    (record,) = caplog.records
    one_sentence(record.getMessage())
    assert "--likelihood gaussian --likelihood.scale optimal" in record.getMessage()
    assert "--likelihood discretized-logistic" in record.getMessage()


@pytest.mark.parametrize("how", ["dynamic", "threshold"])
@pytest.mark.parametrize("x", [GREY * 2, GREY - 0.5, GREY.log().clamp(min=-9)])
def test_values_that_are_not_grey_cannot_be_binarized(how, x, one_sentence):
    for refused in (
        lambda: resolve_binarization(how, x, constraints.boolean),
        lambda: binarize(x, how),
    ):
        with pytest.raises(DataError) as caught:
            refused()
        one_sentence(str(caught.value))
        assert f"binarization '{how}' needs grey values in [0, 1]" in str(caught.value)
        assert "--binarization none" in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -0.1, 1.1])
@pytest.mark.parametrize("how", ["dynamic", "threshold"])
def test_binarizing_finds_the_value_that_is_not_grey(how, value):
    x = GREY.clone()
    x[5, 1, 0] = value
    with pytest.raises(DataError, match=rf"example 5 at \(1, 0\) is {value:g}"):
        binarize(x, how)


def test_an_explicit_choice_is_kept():
    for how in ("none", "dynamic", "threshold"):
        assert resolve_binarization(how, GREY, constraints.boolean) == how


def test_threshold_rounds_half_up_and_none_changes_nothing():
    x = torch.tensor([[0.0, 0.499, 0.5, 1.0]])
    assert binarize(x, "threshold").tolist() == [[0, 0, 1, 1]]
    assert binarize(x, "none") is x


def test_the_evaluation_draw_is_the_same_for_every_run_and_leaves_the_generator_alone():
    x = torch.full((40, 50), 0.3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = binarize(x, "dynamic")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(binarize(x, "dynamic"), first)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert first.mean().item() == pytest.approx(0.3, abs=4 * (0.21 / x.numel()) ** 0.5)
    # A bound on binarized test data is comparable across releases only if the draw is, too.
    assert EVALUATION_SEED == 777
    drawn = binarize(torch.full((1, 16), 0.5), "dynamic").int().flatten().tolist()
    assert drawn == [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0]


def test_each_level_spreads_evenly_over_its_share_of_the_unit_interval():
    x = (torch.arange(4).repeat(5000, 1) / 3).float()
    spread = dequantize(x, 4)
    assert ((spread * 4).floor() == (x * 3).round()).all()
    rest = spread * 4 - (x * 3).round()
    assert rest.mean(0).sub(0.5).abs().max() < 4 * (1 / 12 / 5000) ** 0.5
    assert not torch.equal(spread, dequantize(x, 4))


def test_the_evaluation_spread_is_the_same_in_every_run():
    x = torch.randint(256, (10, 3)) / 255
    before = torch.random.get_rng_state()
    one, two = (prepare_split(x, "none", 256) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("x", [[0.1], [-1 / 3], [4 / 3]])
def test_values_between_the_levels_cannot_be_spread(x, one_sentence):
    with pytest.raises(DataError, match=r"--dequantize 4 needs the values k/3") as caught:
        dequantize(torch.tensor([[0.0], x]), 4)
    one_sentence(str(caught.value))


@pytest.mark.parametrize("how", ["dynamic", "threshold"])
def test_binarization_and_dequantization_exclude_each_other(how):
    with pytest.raises(ConfigError, match="leave one out"):
        prepare_split(torch.zeros(2, 1), how, 256)


def test_training_draws_anew_and_evaluation_draws_once():
    x = torch.full((3, 200), 100 / 255)
    for how, levels in (("dynamic", None), ("none", 256)):
        again = redraw(how, levels)
        assert not torch.equal(again(x), again(x))
    assert redraw("none", None) is None
    assert redraw("dynamic", None)(x).mean().item() == pytest.approx(100 / 255, abs=0.08)
    assert ((redraw("none", 256)(x) * 256).floor() == 100).all()


def test_grey_data_with_gaps_is_binarized_around_them():
    x = torch.tensor([[0.2, math.nan], [1.0, 0.7]])
    assert resolve_binarization("auto", x, constraints.boolean, gaps=True) == "dynamic"
    assert resolve_binarization("dynamic", x, constraints.boolean, gaps=True) == "dynamic"
    with pytest.raises(DataError, match="is nan"):
        resolve_binarization("dynamic", x, constraints.boolean)
    spoiled = torch.tensor([[0.2, 1.5], [math.nan, 0.7]])
    with pytest.raises(DataError, match=r"\(1\) is 1.5"):
        resolve_binarization("threshold", spoiled, constraints.boolean, gaps=True)
    whole = torch.tensor([[0.0, math.nan], [1.0, 1.0]])
    assert resolve_binarization("auto", whole, constraints.boolean, gaps=True) == "none"
