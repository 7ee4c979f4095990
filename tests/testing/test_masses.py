"""The total mass of densities of many values, known by closed forms."""

import math

import pytest
import torch
from right_likelihoods import Chain
from right_priors import MultivariateT
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    constraints,
)

from vaeflow.testing.bridge import bridge
from vaeflow.testing.lines import line_of
from vaeflow.testing.masses import factorizes, log_mass

EXCESS = 0.3  # nats by which each density is too large


def normals(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def mixture(values, weights):
    choice = Categorical(torch.tensor(weights, dtype=torch.float64), validate_args=False)
    return MixtureSameFamily(choice, Independent(values, 1, validate_args=False))


def full(size):
    a = normals(size, size) / math.sqrt(size)
    return MultivariateNormal(normals(size), a @ a.T + 0.2 * torch.eye(size))


def spread(*shape):
    return Normal(3 * normals(*shape), 0.3 + torch.rand(*shape).double())


DEPENDENT = {
    "a Gaussian in the plane": (lambda: full(2), constraints.real),
    "a Gaussian": (lambda: full(20), constraints.real),
    "a heavy tail": (lambda: MultivariateT(normals(10)), constraints.real),
    "far components": (lambda: mixture(spread(3, 12), [0.2, 0.5, 0.3]), constraints.real),
    "components in the plane": (lambda: mixture(spread(3, 2), [0.2, 0.5, 0.3]), constraints.real),
    "few examples": (lambda: Chain(normals(10), 2.0), constraints.boolean),
    "many examples": (
        lambda: mixture(Bernoulli(torch.rand(2, 20).double()), [0.3, 0.7]), constraints.boolean
    ),
    "counts": (
        lambda: mixture(Poisson(5 * torch.rand(2, 3).double()), [0.4, 0.6]),
        constraints.nonnegative_integer,
    ),
    "an interval": (
        lambda: mixture(Beta(*(0.5 + torch.rand(2, 2, 2).double())), [0.4, 0.6]),
        constraints.unit_interval,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [1, 2, 48])
def test_a_product_is_exact(size):
    p = Independent(Normal(normals(size), torch.rand(size).double()), 1)
    line = line_of(constraints.real, (size,))
    mass = log_mass(lambda x: p.log_prob(x) + EXCESS, p.sample((500,)), line)
    assert mass.log == pytest.approx(EXCESS, abs=1e-9)
    assert mass.slack == 0


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_values_are_known_within_what_is_told(name):
    law, support = DEPENDENT[name]
    p = law()
    line = line_of(support, p.event_shape)
    x = p.sample((2000,))
    assert not factorizes(p.log_prob, x, line)
    mass = log_mass(lambda x: p.log_prob(x) + EXCESS, x, line)
    assert abs(mass.log - EXCESS) <= mass.slack + 1e-3
    assert mass.slack < 1


def test_a_rare_component_is_no_product():
    p = mixture(Normal(torch.tensor([[0.0] * 3, [5.0] * 3]), torch.ones(2, 3)), [1 - 1e-5, 1e-5])
    x = p.component_distribution.sample((100,))[:, 0].double()
    assert not factorizes(p.log_prob, x, line_of(constraints.real, (3,)))


def test_the_error_of_a_bridge_is_its_spread():
    p = full(10)
    z = []
    for _ in range(60):
        log, error = bridge(p.log_prob, p.sample((300,)))
        z.append(log / error)
    assert torch.tensor(z).square().mean().sqrt().item() == pytest.approx(1, abs=0.4)
