"""Noise given to a part in place of what it draws."""

import pytest
import torch
from torch.distributions import (
    Cauchy,
    Exponential,
    Gamma,
    Gumbel,
    Independent,
    Laplace,
    LogNormal,
    MultivariateNormal,
    StudentT,
    Uniform,
)

from vaeflow.distributions.draw import draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.testing.noise import GivenNoise, given

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
    ("sample", "law"),
    [
        (lambda: torch.rand(1, 3).double(), Uniform(0.0, 1.0)),
        (lambda: torch.rand_like(NOISE), Uniform(0.0, 1.0)),
        (lambda: torch.empty_like(NOISE).uniform_(-1, 3), Uniform(-1.0, 3.0)),
        (lambda: torch.empty_like(NOISE).exponential_(2.0), Exponential(2.0)),
        (lambda: torch.empty_like(NOISE).cauchy_(1.0, 2.0), Cauchy(1.0, 2.0)),
        (lambda: torch.empty_like(NOISE).log_normal_(1.0, 0.5), LogNormal(1.0, 0.5)),
        (lambda: Laplace(torch.zeros_like(NOISE), 2.0).rsample(), Laplace(0.0, 2.0)),
        (lambda: Gumbel(torch.zeros_like(NOISE), 2.0).rsample(), Gumbel(0.0, 2.0)),
    ],
)
def test_a_draw_of_another_law_is_its_quantile(sample, law):
    with GivenNoise(NOISE):
        seen = sample()
    assert torch.allclose(law.cdf(seen.float()), torch.special.ndtr(NOISE).float(), atol=1e-5)


def test_the_draws_of_a_base_are_replaced_within_its_support():
    gamma = Independent(Gamma(torch.full((1, 3), 2.0).double(), 1.0), 1)
    seen = given(gamma, NOISE)
    assert torch.equal(seen.z, NOISE.exp())
    wanted = gamma.log_prob(NOISE.exp()) + NOISE.sum(-1)  # of ε, as z = e^ε
    assert torch.allclose(seen.log_noise, wanted)
    assert torch.equal(seen.log_prob, gamma.log_prob(NOISE.exp()))
    assert not torch.equal(gamma.rsample(), seen.z)  # its own draws are back


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (lambda: torch.randint(2, (1, 3)), "by randint"),
        (lambda: StudentT(5 * torch.ones(1, 3)).rsample(), "by _standard_gamma"),
        (lambda: torch.randn(1, 4), "numbers where"),
        (lambda: torch.randn(1, 2), "for 2 of 3"),
        (lambda: None, "for 0 of 3"),
    ],
)
def test_other_draws_are_refused_with_the_cure(sample, told):
    with pytest.raises(NotImplementedError, match=told) as caught, GivenNoise(NOISE):
        sample()
    assert "`base`" in str(caught.value)


def test_the_noise_has_a_gradient_wherever_it_is_drawn():
    noise = NOISE.clone().requires_grad_()
    q = DiagonalNormal(torch.zeros(1, 3).double(), torch.zeros(1, 3).double())
    with GivenNoise(noise):
        assert draw(q).z.requires_grad
