"""Gradients against slopes, at smooth points, at kinks and where a value jumps."""

from functools import partial

import pytest
import torch
from altered_parts import with_gradient
from torch.nn import functional as F

from vaeflow.testing.lines import line_of
from vaeflow.testing.peaks import highest
from vaeflow.testing.slopes import gradients_are_slopes


def at(*numbers):
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def checked(f, x, **options):
    gradients_are_slopes(lambda: f(x), [x], "of f", **options)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (torch.sin, at(0.0, 1.0, 30.0)),
        (lambda x: (1e4 * x).cosh().log(), at(1e-5, 2e-4)),
        (torch.abs, at(0.0, 1.0, -1.0)),  # torch takes 0, between the slopes on its sides
        (F.relu, at(0.0, 1.0, -1.0)),
        (lambda x: 1e6 + x, at(2.0)),
        (lambda x: torch.ones_like(x), at(2.0)),
    ],
)
def test_right_gradients_pass(f, x):
    for seed in range(5):
        checked(f, x, each=1, seed=seed)
        checked(f, x, seed=seed)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: with_gradient(x.sin(), lambda g, y: 1.01 * g), at(1.0)),
        (lambda x: x.sin() + x.detach().square(), at(1.0)),
        (lambda x: x.sin() * x.detach(), at(0.5)),
        (lambda x: with_gradient(x, lambda g, y: g + 2).abs(), at(0.0)),
        (lambda x: x.square().sqrt(), at(0.0)),  # its gradient is no number
    ],
)  # fmt: skip
def test_other_gradients_are_found(f, x):
    with pytest.raises(AssertionError, match="gradient"):
        checked(f, x, each=1)


def test_a_value_that_jumps_at_the_point_is_found():
    with pytest.raises(AssertionError, match=r"jumps by 0\.001"):
        checked(lambda x: x.sin() + 1e-3 * (x == 0), at(0.0), each=1)


def test_a_wrong_row_among_right_ones_is_found():
    def f(x):
        return with_gradient(x, lambda g, y: torch.where(y > 3, 0.0, g)).square().sum(-1)

    x = at(1.0, 2.0, 4.0, 1.0).detach().view(2, 2).requires_grad_()
    with pytest.raises(AssertionError, match="of f"):
        gradients_are_slopes(partial(f, x), [x], "of f", each=1)
    assert x.tolist() == [[1.0, 2.0], [4.0, 1.0]]


def test_the_highest_density_is_found_between_the_draws():
    p = torch.distributions.MultivariateNormal(at(1.0, -2.0).detach(), torch.eye(2).double() + 0.5)
    torch.manual_seed(0)
    line = line_of(torch.distributions.constraints.real, (2,))
    assert highest(p.log_prob, p.sample((50,)), line) == pytest.approx(p.log_prob(p.mean).item())
