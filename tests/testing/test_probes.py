"""Noise given to a part in place of the normals that it draws."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaeflow.distributions.draw import draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.testing import GivenNoise

NOISE = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    "sample",
    [
        lambda: torch.randn(1, 3),
        lambda: torch.randn_like(torch.zeros(1, 3)),
        lambda: torch.empty(1, 3).normal_(),
        lambda: torch.empty(1, 3).normal_(1, 2) / 2 - 0.5,
        lambda: torch.empty(1, 3).normal_(mean=1.0, std=2.0) / 2 - 0.5,
        lambda: torch.normal(0.0, 1.0, (1, 3)),
        lambda: torch.normal(torch.ones(1, 3), torch.full((1, 3), 2.0)) / 2 - 0.5,
        lambda: torch.distributions.Normal(torch.zeros(1, 3), 1.0).rsample(),
        lambda: MultivariateNormal(torch.zeros(1, 3), torch.eye(3)).rsample(),
        lambda: torch.cat([torch.randn(1, 2), torch.randn(1, 1)], -1),
        lambda: torch.stack([torch.randn(1) for _ in range(3)], -1),
    ],
)  # fmt: skip
def test_every_way_to_draw_a_normal_is_served(sample):
    with GivenNoise(NOISE):
        seen = sample()
    assert torch.allclose(seen.double(), NOISE)


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (lambda: torch.rand(1, 3), "by rand"),
        (lambda: torch.empty(1, 3).uniform_(), "by uniform_"),
        (lambda: torch.randn(1, 4), "normals where"),
        (lambda: torch.randn(1, 2), "for 2 of 3"),
        (lambda: None, "for 0 of 3"),
    ],
)
def test_other_draws_are_refused_with_the_cure(sample, told):
    with pytest.raises(NotImplementedError, match=told) as caught, GivenNoise(NOISE):
        sample()
    assert "exempt" in str(caught.value)


def test_the_noise_has_a_gradient_wherever_it_is_drawn():
    noise = NOISE.clone().requires_grad_()
    q = DiagonalNormal(torch.zeros(1, 3).double(), torch.zeros(1, 3).double())
    with GivenNoise(noise):
        assert draw(q).z.requires_grad
