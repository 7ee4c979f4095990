"""The levels of grey values: which data they take, and what is said of other data."""

import numpy as np
import pytest
import torch

from vaeflow.data.binarization import resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.distributions.levels import Levels
from vaeflow.errors import DataError
from vaeflow.parts.datasets.digits import Digits


@pytest.mark.parametrize("levels", [2, 17, 256, 1000])
def test_rounded_levels_are_accepted(levels):
    k = np.arange(levels, dtype=np.float32)
    for x in (k / np.float32(levels - 1), k * np.float32(1 / (levels - 1))):
        x = torch.from_numpy(x)
        assert Levels(levels).check(x).all()
        assert Levels(levels).index(x).tolist() == k.tolist()


def test_values_between_or_beyond_the_levels_are_refused():
    step = 1 / 255
    x = torch.tensor([0.5 * step, 100.1 * step, -step, 1 + step, torch.nan, torch.inf, -torch.inf])
    assert not Levels(256).check(x).any()
    assert Levels(256).check(torch.tensor([[0.0], [1.0]])).tolist() == [[True], [True]]


def test_digits_are_taken_as_they_are():
    x = Digits().load().train
    check_values("training", x, (1, 8, 8), Levels(17))
    assert resolve_binarization("auto", x, Levels(17)) == "none"


GREY = torch.arange(48).view(4, 3, 4) / 48


@pytest.mark.parametrize(
    ("x", "levels", "told"),
    [
        (torch.arange(34).view(2, 17) % 17 / 16, 256, "k/16: give --likelihood.levels 17"),
        (GREY, 256, "values in {0, 1/255, …, 1}"),
        (GREY, 256, "k/48: give --likelihood.levels 49"),
        (GREY.sqrt(), 256, "[0, 0.989529]; use --likelihood continuous-bernoulli"),
        (torch.arange(400).view(4, 100) / 400, 256, "0.9975]; use --likelihood continuous"),
        (torch.full((2, 2), 1 / 3), 5, "0.333333]; use --likelihood continuous-bernoulli"),
        (torch.arange(256.0).view(4, 64), 256, "(--dataset.scale 255), or"),
        (-GREY, 256, "use --likelihood gaussian"),
    ],
)
def test_other_data_is_refused_with_a_cure(x, levels, told, one_sentence):
    with pytest.raises(DataError) as caught:
        check_values("training", x, tuple(x.shape[1:]), Levels(levels))
    one_sentence(str(caught.value))
    assert told in str(caught.value)
