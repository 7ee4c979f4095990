"""Discretized logistics and their mixture against mpmath, sums and the formula."""

import math
from itertools import product

import mpmath
import pytest
import torch

from vaeflow.distributions.levels import Levels
from vaeflow.parts.likelihoods.discretized_logistic import DiscretizedLogistic, LevelLogistic
from vaeflow.parts.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture

mpmath.mp.dps = 80
SHAPE = (1, 2, 2)
LOCATIONS = [-3.0, 0.0, 0.3, 0.77, 1.0, 40.0]
SCALES = [5e-4, 0.01, 0.1, 3.0, 1e3, 3e4]


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def law(location, s, levels, dtype=torch.float64):
    return LevelLogistic(
        torch.tensor(location, dtype=dtype), torch.tensor(s, dtype=dtype), Levels(levels)
    )


def all_levels(levels, dtype=torch.float64):
    return torch.arange(levels, dtype=dtype) / (levels - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_masses_of_the_levels_sum_to_one(levels, dtype):
    for location, s in product(LOCATIONS, SCALES):
        total = law(location, s, levels, dtype).log_prob(all_levels(levels, dtype)).double().exp()
        # What is left in float32 is the rounding of (x − μ)/s.
        assert total.sum().item() == pytest.approx(1, abs=1e-12 if dtype.itemsize == 8 else 1e-4)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_mass_is_the_difference_of_two_sigmoids(levels):
    def sigmoid(x):
        return 1 / (1 + mpmath.exp(-x))

    seen = 0
    for location, s in product(LOCATIONS, SCALES):
        p = law(location, s, levels)
        scores = p.log_prob(all_levels(levels))
        for k in {0, 1, levels // 2, levels - 2, levels - 1}:
            b, a = (((k + w) / mpmath.mpf(levels - 1) - location) / s for w in (0.5, -0.5))
            high = 1 if k == levels - 1 else sigmoid(b)
            low = 0 if k == 0 else sigmoid(a)
            if high - low > 1e-60:
                size = 1 + abs(b) + abs(location / s)  # of the numbers that are rounded
                wanted = float(mpmath.log(high - low))
                assert scores[k].item() == pytest.approx(wanted, abs=2e-15 * float(size))
                seen += 1
    assert seen >= 40


def test_mean_is_the_sum_over_the_levels():
    for location, s in product(LOCATIONS, SCALES):
        p, x = law(location, s, 17), all_levels(17)
        assert p.mean.item() == pytest.approx((p.log_prob(x).exp() * x).sum().item(), abs=1e-12)


def test_draws_have_the_masses_of_the_levels():
    torch.manual_seed(0)
    for location, s in ((0.3, 0.1), (-0.2, 0.5), (1.0, 1e-3)):
        p = law(location, s, 9, torch.float32)
        x = p.sample((20_000,))
        assert Levels(9).check(x).all()
        counts = torch.bincount((8 * x).round().long(), minlength=9) / len(x)
        masses = p.log_prob(all_levels(9, torch.float32)).exp()
        torch.testing.assert_close(counts, masses, rtol=0, atol=0.018)


def test_far_value_has_a_gradient_towards_it():
    """A difference taken before its logarithm would be 0 here, or clamped: no gradient."""
    location = torch.tensor([40.0, -40.0, 40.0, -40.0], requires_grad=True)
    p = LevelLogistic(location, torch.full((4,), 0.01), Levels(256))
    score = p.log_prob(torch.tensor([0.0, 1.0, 128 / 255, 128 / 255]))
    (gradient,) = torch.autograd.grad(score.sum(), location)
    torch.testing.assert_close(gradient, torch.tensor([-100.0, 100.0, -100.0, 100.0]))


@pytest.mark.parametrize("scale", ["fixed", "shared", "pixel"])
def test_scale_and_the_link(scale):
    likelihood = DiscretizedLogistic(SHAPE, levels=17, scale=scale, s=0.2, link="sigmoid").double()
    output = torch.zeros(5, 4, *likelihood.output_shape, dtype=torch.float64)
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    x = torch.tensor([0, 0.25, 0.5, 1]).view(SHAPE).double()
    wanted = law(0.5, 0.2, 17).log_prob(x).sum()
    torch.testing.assert_close(p.log_prob(x), wanted.expand(5, 4), rtol=1e-6, atol=0)


def mixture(output, likelihood):
    """The masses of all levels, by the formula: (levels, K, B, *SHAPE)."""
    logits, mean, raw = output.chunk(3, 2)
    m, last = likelihood.components, likelihood.levels.levels - 1
    mean = mean + ((torch.arange(m) + 0.5) / m).view(m, 1, 1, 1)
    s = torch.log1p(torch.exp(raw + math.log(math.expm1(0.1 - 5e-4)))) + 5e-4
    k = torch.arange(last).double().view(-1, 1, 1, 1, 1, 1, 1)
    below = torch.sigmoid(((k + 0.5) / last - mean) / s)  # P(x ≤ level k)
    zero, one = torch.zeros_like(below[:1]), torch.ones_like(below[:1])
    return (torch.cat([below, one]).diff(dim=0, prepend=zero) * logits.softmax(2)).sum(3)


@pytest.mark.parametrize("components", [1, 4])
def test_mixture_is_its_formula(components):
    likelihood = DiscretizedLogisticMixture(SHAPE, levels=17, components=components)
    assert likelihood.output_shape == (3 * components, *SHAPE)
    output = 0.3 * randn(5, 4, 3 * components, *SHAPE)
    masses = mixture(output, likelihood)
    torch.testing.assert_close(masses.sum(0), torch.ones(5, 4, *SHAPE).double())
    k = torch.randint(17, (4, *SHAPE), generator=torch.Generator().manual_seed(1))
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    wanted = masses.gather(0, k.expand(1, 5, 4, *SHAPE)).squeeze(0).log().flatten(2).sum(-1)
    torch.testing.assert_close(p.log_prob(k / 16), wanted, rtol=1e-9, atol=1e-9)
    values = all_levels(17).view(-1, 1, 1, 1, 1, 1)
    torch.testing.assert_close(p.mean, (masses * values).sum(0))


def test_masses_of_a_mixture_sum_to_one():
    likelihood = DiscretizedLogisticMixture((1,))
    p = likelihood(3 * randn(3, 1, 15, 1))
    total = p.log_prob(all_levels(256).view(256, 1)).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones(3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("part", [DiscretizedLogistic, DiscretizedLogisticMixture])
def test_gradients_match_finite_differences(part):
    likelihood = part(SHAPE, levels=17).double()
    output = (0.3 * randn(1, 2, *likelihood.output_shape)).requires_grad_()
    x = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(SHAPE)
    assert torch.autograd.gradcheck(lambda output: likelihood(output).log_prob(x), output)


@pytest.mark.parametrize("part", [DiscretizedLogistic, DiscretizedLogisticMixture])
def test_extreme_outputs_are_finite(part):
    likelihood = part(SHAPE)
    output = (1e5 * randn(3, 2, *likelihood.output_shape)).float().requires_grad_()
    x = torch.tensor([0.0, 1 / 255, 0.6, 1.0]).view(SHAPE)
    score = likelihood(output).log_prob(x)
    (gradient,) = torch.autograd.grad(score.sum(), output)
    assert torch.isfinite(score).all()
    assert torch.isfinite(gradient).all()
