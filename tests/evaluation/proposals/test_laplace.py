"""The Gaussian fitted to a posterior, against posteriors that are known."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.laplace import fit

ROWS = 1000


class Known(Joint):
    """log p(x, z) as a function that is given, of `count` images."""

    def __init__(self, log_joint, count, images=None):
        self.log_joint, self.count = log_joint, count
        self.images = torch.arange(count) if images is None else images

    def __len__(self):
        return len(self.images)

    def of(self, images):
        return Known(self.log_joint, self.count, self.images[images])

    def slope(self, z):
        with torch.enable_grad():
            at = z.detach().requires_grad_()
            value = self.log_joint(at, self.images)
            (slope,) = torch.autograd.grad(value.sum(), at)
        return value.detach(), slope


def covariance(found):
    return found.factor @ found.factor.mT


def test_slope_is_that_of_the_closed_form(world):
    _, x = world.data(6)
    joint, law = Joint(world.model(), x, ROWS, 7), world.posterior(x)
    z = torch.randn(5, 6, world.latent, generator=torch.Generator().manual_seed(0)).double()
    value, slope = joint.slope(z)
    torch.testing.assert_close(value, law.log_prob(z) + world.log_px(x))
    expected = -torch.einsum("bij,kbj->kbi", law.precision_matrix, z - law.mean)
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(sum(joint.terms(z)), value)
    part = torch.tensor([4, 1])
    torch.testing.assert_close(joint.of(part).slope(z[:, part])[1], slope[:, part])


@pytest.mark.parametrize("distance", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("spread", [0.01, 0.5, 10.0])
def test_fit_of_a_gaussian_posterior_is_exact(world, distance, spread):
    torch.manual_seed(0)
    _, x = world.data(6)
    law = world.posterior(x)
    begin = law.mean + distance * torch.randn_like(law.mean)
    found = fit(Joint(world.model(), x, ROWS, ROWS), begin, torch.full_like(begin, spread))
    torch.testing.assert_close(found.center, law.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(covariance(found), law.covariance_matrix, rtol=1e-6, atol=1e-8)


def test_bound_is_the_elbo_of_the_fit_but_for_a_constant(world):
    """E_r[log p(x, z)] + log|det F| = log p(x) − ½L(1 + log 2π) where r is the posterior."""
    torch.manual_seed(0)
    _, x = world.data(6)
    law = world.posterior(x)
    begin = law.mean + 0.3
    found = fit(Joint(world.model(), x, ROWS, ROWS), begin, law.variance.sqrt())
    constant = 0.5 * world.latent * (1 + math.log(2 * math.pi))
    short = world.log_px(x) - constant - found.bound  # the last step is not looked at again
    assert short.min() > -1e-9
    assert short.max() < 0.05


@pytest.mark.parametrize("latent", [1, 2, 30])
def test_fit_is_exact_at_any_size_of_the_latent(latent):
    torch.manual_seed(0)
    a = torch.randn(4, latent, latent, dtype=torch.float64)
    law = MultivariateNormal(
        torch.randn(4, latent, dtype=torch.float64), a @ a.mT + 0.1 * torch.eye(latent)
    )

    def log_joint(z, images):
        off = z - law.mean[images]
        return -0.5 * torch.einsum("kbi,bij,kbj->kb", off, law.precision_matrix[images], off)

    begin = torch.zeros(4, latent, dtype=torch.float64)
    found = fit(Known(log_joint, 4), begin, torch.ones_like(begin))
    torch.testing.assert_close(found.center, law.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(covariance(found), law.covariance_matrix, rtol=1e-5, atol=1e-6)


def test_fit_of_a_smooth_posterior_solves_the_equations_of_the_best_gaussian():
    """Poisson counts with a rate exp(z): means under r of slope and curvature in closed form."""
    torch.manual_seed(0)
    counts = torch.tensor([0.0, 1.0, 4.0, 30.0], dtype=torch.float64)[:, None]

    def log_joint(z, images):
        return (counts[images] * z - z.exp() - 0.5 * z.square()).sum(-1)

    begin = torch.zeros(4, 1, dtype=torch.float64)
    found = fit(Known(log_joint, 4), begin, torch.ones_like(begin))
    variance = covariance(found)[:, :, 0]
    # In one dimension the two points c ± s stand for the mean: E[exp(z)] = exp(c) cosh(s) of them.
    deviation = variance.sqrt()
    slope = counts - found.center.exp() * deviation.cosh() - found.center
    assert (slope * deviation).abs().max() < 0.5  # the length of a step at which the fit stops
    curvature = 1 + found.center.exp() * deviation.sinh() / deviation
    torch.testing.assert_close(variance * curvature, torch.ones(4, 1).double(), rtol=0, atol=0.2)


@pytest.mark.parametrize("begin", [0.0, 2.9, 50.0])
def test_regions_that_are_no_numbers_do_not_break_the_fit(begin):
    """The likelihood is NaN at |z| > 3, where a start may lie, and a step may lead."""
    torch.manual_seed(0)
    mean = torch.tensor([[0.5, -0.5], [1.0, 1.0], [-1.0, 0.3]], dtype=torch.float64)

    def log_joint(z, images):
        inside = (z.abs() <= 3).all(-1)
        value = -0.5 * ((z - mean[images]) / 0.3).square().sum(-1)
        return value + torch.where(inside, 0.0, torch.nan)

    start = mean.clone()
    start[0] = begin  # this image's alone: the others must not notice
    found = fit(Known(log_joint, 3), start, torch.full_like(start, 2.5))
    expected = 0.09 * torch.eye(2).double().expand(3, 2, 2)
    good = slice(0 if begin < 3 else 1, None)
    torch.testing.assert_close(found.center[good], mean[good], rtol=0, atol=1e-6)
    torch.testing.assert_close(covariance(found)[good], expected[good], rtol=1e-6, atol=1e-8)
    assert found.center.isfinite().all()
    assert found.factor.isfinite().all()


def test_a_minimum_is_left_for_a_mode():
    torch.manual_seed(0)

    def log_joint(z, images):  # modes at ±2, of standard deviation 0.35 each, a minimum at 0
        return (2 * z.square() - z.pow(4) / 4).sum(-1)

    begin = torch.full((20, 1), 0.3, dtype=torch.float64)
    found = fit(Known(log_joint, 20), begin, torch.full_like(begin, 0.1))
    grid = torch.linspace(0, 5, 2001, dtype=torch.float64)  # the posterior on its side of 0
    weight = log_joint(grid[:, None], None).softmax(0)
    mean = (weight * grid).sum()
    deviation = (weight * (grid - mean).square()).sum().sqrt()
    assert (found.center - mean).abs().max() < 0.5 * deviation
    assert ((found.factor[:, 0] / deviation).log().abs() < math.log(1.3)).all()


def test_an_image_is_fitted_the_same_beside_others(world):
    _, x = world.data(5)
    begin = torch.zeros(5, world.latent, dtype=torch.float64)
    alone = [
        fit(Joint(world.model(), x[i : i + 1], ROWS, ROWS), begin[:1], begin[:1] + 1)
        for i in range(5)
    ]
    together = fit(Joint(world.model(), x, ROWS, ROWS), begin, begin + 1)
    torch.testing.assert_close(torch.cat([f.center for f in alone]), together.center)
    torch.testing.assert_close(torch.cat([covariance(f) for f in alone]), covariance(together))


def test_a_joint_without_a_gradient_raises():
    def log_joint(z, images):
        return z.detach().square().sum(-1)

    begin = torch.zeros(1, 1)
    with pytest.raises(RuntimeError):
        fit(Known(log_joint, 1), begin, begin + 1)
