"""Every value of a split is checked before training, and the error names the cure."""

import pytest
import torch
from torch.distributions import constraints

from vaeflow.data.checks import check_values, needs
from vaeflow.errors import DataError

GREY = torch.linspace(0, 1, 24).reshape(6, 2, 2)
BINARY = (GREY > 0.5).float()


def complaint(x, support=constraints.boolean, shape=(2, 2)) -> str:
    with pytest.raises(DataError) as caught:
        check_values("training", x, shape, support)
    return str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", [(0, 0, 0), (3, 1, 0), (5, 1, 1)])
@pytest.mark.parametrize("support", [constraints.boolean, constraints.real])
def test_a_value_that_is_not_finite_is_found_at_any_place(value, where, support, one_sentence):
    x = BINARY.clone()
    x[where] = value
    message = complaint(x, support)
    one_sentence(message)
    assert message.startswith(f"training example {where[0]} at {where[1:]} is {value}: ")
    assert "replace or drop" in message


@pytest.mark.parametrize(
    ("x", "support", "told"),
    [
        (GREY, constraints.boolean, ["values 0 and 1", "--binarization dynamic"]),
        (GREY * 255, constraints.boolean, ["[0, 255]", "--dataset.scale 255", "gaussian"]),
        (GREY * 255, constraints.unit_interval, ["values in [0, 1]", "--dataset.scale 255"]),
        (GREY - 0.5, constraints.boolean, ["[-0.5, 0.5]", "--likelihood gaussian"]),
        (GREY * 1.0000002, constraints.unit_interval, ["values in [0, 1]", "example 5"]),
        (
            GREY,
            constraints.positive,
            ["training example 0 at (0, 0) is 0, which", "values above 0"],
        ),
    ],
)
def test_a_value_outside_the_support_is_refused(x, support, told, one_sentence):
    message = complaint(x, support)
    one_sentence(message)
    assert "which the likelihood cannot score" in message
    for words in told:
        assert words in message


def test_empty_splits_and_wrong_shapes_are_refused(one_sentence):
    message = complaint(GREY[:0])
    one_sentence(message)
    assert message == "the training split is empty: at least one example is needed"
    message = complaint(GREY, shape=(4,))
    one_sentence(message)
    assert "examples have shape (2, 2), but the model takes (4,)" in message


def test_good_values_pass():
    check_values("test", BINARY, (2, 2), constraints.boolean)
    check_values("test", GREY, (2, 2), constraints.unit_interval)
    check_values("test", GREY.log().clamp(min=-9), (2, 2), constraints.real)


def test_what_a_likelihood_needs_is_told_in_words():
    assert needs(constraints.integer_interval(0, 10)) == "whole numbers from 0 to 10"
    assert needs(constraints.real) == "real values"
