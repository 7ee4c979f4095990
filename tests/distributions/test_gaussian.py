"""Gaussians that are drawn and scored at once."""

import math

import pytest
import torch
from torch.distributions import (
    Independent,
    Normal,
)

from vaeflow.distributions.draw import draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import at_least_float32

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def test_diagonal_normal_takes_a_log_variance():
    loc = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    log_variance = torch.tensor([[math.log(4.0), math.log(0.25)]], dtype=torch.float64)
    z = torch.tensor([[1.5, 2.0]], dtype=torch.float64)
    q = DiagonalNormal(loc, log_variance)
    # −½(1/4) − log 2 − ½ log 2π, and −½(9/0.25) + log 2 − ½ log 2π
    expected = torch.tensor([-0.125 - 18.0 - math.log(2 * math.pi)], dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), expected, **TOLERANCE)
    assert (q.batch_shape, q.event_shape) == ((1,), (2,))


@pytest.mark.parametrize("shared", [False, True], ids=["own variances", "one variance for all"])
def test_diagonal_normal_equals_torchs(shared):
    torch.manual_seed(6)
    loc = 3 * torch.randn(3, 4, dtype=torch.float64)
    log_variance = 3 * torch.randn(1 if shared else (3, 4), dtype=torch.float64)
    q = DiagonalNormal(loc, log_variance)
    oracle = Independent(Normal(loc, (0.5 * log_variance).exp()), 1)
    sample = draw(q, (20_000,))
    assert sample.z.shape == (20_000, 3, 4)
    assert torch.equal(sample.log_det, torch.zeros(20_000, 3, dtype=torch.float64))
    torch.testing.assert_close(sample.log_prob, oracle.log_prob(sample.z), **TOLERANCE)
    torch.testing.assert_close(q.log_prob(sample.z), oracle.log_prob(sample.z), **TOLERANCE)
    # The draws have its law: standardized, their mean is 0 and their variance 1 within 4 SE.
    noise = (sample.z - loc) / (0.5 * log_variance).exp()
    assert noise.mean(0).abs().max() < 4 / math.sqrt(20_000)
    assert (noise.var(0) - 1).abs().max() < 4 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_densities_are_in_float32_or_wider(given, made):
    x = torch.ones(3, 2, dtype=given)
    assert at_least_float32(x).dtype == made
    assert DiagonalNormal(x, x).log_prob(x.float()).dtype == made


def test_expanded_diagonal_normal_is_the_same_law():
    q = DiagonalNormal(torch.randn(3), torch.randn(3))
    wide = q.expand((4, 2))
    assert (wide.batch_shape, wide.event_shape) == ((4, 2), (3,))
    z = wide.rsample()
    assert torch.equal(wide.log_prob(z), q.log_prob(z))
