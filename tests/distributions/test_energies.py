"""The test densities of the plane against the paper's formulas, quadrature and their own draws."""

import math

import pytest
import torch

from vaeflow.distributions.energies import (
    NAMES,
    Energy,
    correlated_gaussian,
    grid,
    log_normalizer,
    potential,
)


def table_1(name, x, y):
    """Rezende & Mohamed 2015, table 1, word for word, for one point."""
    w1 = math.sin(2 * math.pi * x / 4)
    w2 = 3 * math.exp(-0.5 * ((x - 1) / 0.6) ** 2)
    w3 = 3 / (1 + math.exp(-(x - 1) / 0.3))
    if name == "u1":
        modes = math.exp(-0.5 * ((x - 2) / 0.6) ** 2) + math.exp(-0.5 * ((x + 2) / 0.6) ** 2)
        return 0.5 * ((math.hypot(x, y) - 2) / 0.4) ** 2 - math.log(modes)
    if name == "u2":
        return 0.5 * ((y - w1) / 0.4) ** 2
    bend, scale = {"u3": (w2, 0.35), "u4": (w3, 0.4)}[name]
    first = math.exp(-0.5 * ((y - w1) / scale) ** 2)
    return -math.log(first + math.exp(-0.5 * ((y - w1 + bend) / 0.35) ** 2))


@pytest.mark.parametrize("name", NAMES)
def test_potential_between_the_walls_is_the_papers(name):
    generator = torch.Generator().manual_seed(0)
    z = 8 * torch.rand(200, 2, dtype=torch.float64, generator=generator) - 4
    wanted = [table_1(name, *point) for point in z.tolist()]
    seen = potential(name, z)
    torch.testing.assert_close(seen, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_walls_rise_beyond_them_alone(name):
    inside = torch.tensor([[4.0, 0.5], [0.5, -4.0]], dtype=torch.float64)
    beyond = inside + torch.tensor([[0.8, 0.0], [0.0, -0.8]], dtype=torch.float64)
    rise = potential(name, beyond) - torch.tensor(
        [table_1(name, *point) for point in beyond.tolist()], dtype=torch.float64
    )
    torch.testing.assert_close(rise, torch.full_like(rise, 2.0))  # ½ (0.8/0.4)²


@pytest.mark.parametrize("name", NAMES)
def test_far_values_are_finite(name):
    for size in (30.0, 1000.0):
        z = torch.tensor([[size, 0.0], [0.0, -size], [size, size], [0.0, 0.0]], requires_grad=True)
        log_prob = Energy(name).log_prob(z)
        assert log_prob.isfinite().all()
        assert torch.autograd.grad(log_prob.sum(), z)[0].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one_on_any_grid(name):
    # Halving the squares changes nothing; a grid of its own, off the edges of the walls, agrees.
    assert log_normalizer(name, 1280) == pytest.approx(log_normalizer(name), abs=2e-9)
    z = grid(700, 7.9)
    total = Energy(name).log_prob(z).exp().sum().item() * (2 * 7.9 / 699) ** 2
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_density(name):
    p = Energy(name)
    z = p.sample((40_000,), torch.Generator().manual_seed(1))
    assert z.shape == (40_000, 2)
    edges = torch.linspace(-5, 5, 11)
    counts = torch.histogramdd(z, [edges, edges]).hist
    # The probability of each of 100 squares, from 80² points in it.
    ticks = (torch.arange(800, dtype=torch.float64) + 0.5) / 80 - 5
    points = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), -1)
    density = p.log_prob(points).exp().view(10, 80, 10, 80).mean((1, 3))
    expected = 40_000 * density
    seen = expected > 5
    chi2 = ((counts - expected)[seen].square() / expected[seen]).sum().item()
    degrees = int(seen.sum())
    assert chi2 < degrees + 5 * math.sqrt(2 * degrees)
    assert counts[~seen].sum() < 5 * math.sqrt(expected[~seen].sum().item() + 1) + 5


def test_draws_have_a_shape_and_repeat_with_the_seed():
    p = Energy("u1")
    assert p.sample().shape == (2,)
    z = p.sample((3, 4), torch.Generator().manual_seed(2))
    assert z.shape == (3, 4, 2)
    assert torch.equal(z, p.sample((3, 4), torch.Generator().manual_seed(2)))
    assert p.log_prob(z).shape == (3, 4)


def test_each_bound_of_the_rejection_holds():
    for name in NAMES:
        assert (-potential(name, grid(801))).max() <= math.log(2)


def test_grid_has_the_first_coordinate_along_a_row():
    z = grid(3, 1.0)
    assert z[0, :, 0].tolist() == [-1, 0, 1]
    assert z[:, 0, 1].tolist() == [-1, 0, 1]


def test_best_diagonal_gaussian_is_0_83_nats_off():
    p = correlated_gaussian(0.9)
    variance = torch.tensor(1 - 0.9**2)  # of each dimension given the other: the optimum
    diagonal = torch.distributions.MultivariateNormal(torch.zeros(2), variance * torch.eye(2))
    kl = torch.distributions.kl_divergence(diagonal, p).item()
    assert kl == pytest.approx(-0.5 * math.log(1 - 0.81), abs=1e-5)
    assert kl == pytest.approx(0.830, abs=5e-4)
