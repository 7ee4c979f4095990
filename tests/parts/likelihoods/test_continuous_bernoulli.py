"""The continuous Bernoulli against mpmath, quadrature and torch's own."""

import mpmath
import pytest
import torch
from scipy.integrate import quad
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli

from vaeflow.parts.likelihoods.continuous_bernoulli import ContinuousBernoulli, TiltedUniform

mpmath.mp.dps = 150  # at η = 1e-30 the closed forms lose 90 digits
SIZES = [1e-30, 1e-8, 1e-4, 0.01, 0.5, 0.99, 1 - 1e-9, 1.0, 1.01, 3.0, 16.0, 88.0, 500.0, 1e4, 1e6]
ETAS = [0.0, *SIZES, *(-size for size in SIZES)]
VALUES = [0.0, 0.003, 0.25, 0.5, 0.9, 0.999, 1.0]
PRECISION = {torch.float32: 5e-7, torch.float64: 2e-15}


def exact(eta, x):
    """log p, its derivative in η, and the mean."""
    eta, x = mpmath.mpf(eta), mpmath.mpf(x)
    if not eta:
        return mpmath.mpf(0), x - 0.5, mpmath.mpf(0.5)
    mean = 1 / (1 - mpmath.exp(-eta)) - 1 / eta
    return eta * x - mpmath.log(mpmath.expm1(eta) / eta), x - mean, mean


@pytest.mark.parametrize("dtype", PRECISION)
def test_log_prob_slope_and_mean_against_mpmath(dtype):
    tolerance = PRECISION[dtype]
    for number in ETAS:
        eta = torch.tensor(number, dtype=dtype, requires_grad=True)
        p = TiltedUniform(eta)
        for value in VALUES:
            x = torch.tensor(value, dtype=dtype)
            score = p.log_prob(x)
            (slope,) = torch.autograd.grad(score, eta)
            wanted, wanted_slope, mean = (float(v) for v in exact(eta.item(), x.item()))
            assert score.item() == pytest.approx(wanted, rel=tolerance, abs=tolerance)
            assert slope.item() == pytest.approx(wanted_slope, abs=tolerance)
        assert p.mean.item() == pytest.approx(mean, abs=tolerance)


def test_slope_of_the_mean_is_the_variance():
    etas = torch.tensor([-30, -2, -1, -0.3, 1e-4, 0.7, 1, 8]).double().requires_grad_()
    (slope,) = torch.autograd.grad(TiltedUniform(etas).mean.sum(), etas)
    wanted = [float(1 / mpmath.mpf(e) ** 2 - mpmath.csch(e / 2) ** 2 / 4) for e in etas.tolist()]
    assert slope.tolist() == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize("eta", [0.0, 1e-6, 0.9, -1.1, 7.0, -40.0])
def test_density_integrates_to_one_and_has_its_mean(eta):
    p = TiltedUniform(torch.tensor(eta, dtype=torch.float64))

    def density(x):
        return p.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()

    assert quad(density, 0, 1, epsabs=1e-12)[0] == pytest.approx(1, abs=1e-10)
    mean = quad(lambda x: x * density(x), 0, 1, epsabs=1e-12)[0]
    assert p.mean.item() == pytest.approx(mean, abs=1e-10)


def test_it_is_torchs_where_that_is_right():
    eta = torch.tensor([-12, -5, -1, -0.1, 0.1, 1, 5, 12]).double()[:, None]
    x = torch.linspace(0, 1, 11).double()
    own, other = TiltedUniform(eta), TorchContinuousBernoulli(logits=eta)
    torch.testing.assert_close(own.log_prob(x), other.log_prob(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(own.mean, other.mean, rtol=0, atol=1e-9)


def test_draws_follow_the_distribution_function():
    eta = torch.tensor([0.0, 1e-30, 1e-3, -1, 1, -20, 20, 1e4, -1e4])
    torch.manual_seed(0)
    x = TiltedUniform(eta).sample((20_000,)).double()
    assert ((x >= 0) & (x <= 1)).all()
    eta = eta.double()
    safe = torch.where(eta == 0, 1.0, eta)
    # F(x) = (e^ηx − 1)/(e^η − 1); from the other edge where that overflows
    grows = safe > 0
    d = torch.where(grows, 1 - x, x)
    uniform = torch.expm1(-safe.abs() * d) / torch.expm1(-safe.abs())
    uniform = torch.where(eta == 0, x, uniform).sort(0).values
    ranks = torch.linspace(0, 1, len(uniform)).double()[:, None]
    assert (uniform - ranks).abs().max() < 0.0195  # Kolmogorov's D at p = 5e-7


def test_draws_have_the_derivative_of_the_inverse():
    eta = torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.float64)

    def draw(eta):
        torch.manual_seed(3)
        return TiltedUniform(eta).rsample((5,))

    (slope,) = torch.autograd.grad(draw(eta.requires_grad_()).sum(), eta)
    wanted = (draw(eta.detach() + 1e-6) - draw(eta.detach() - 1e-6)).sum(0) / 2e-6
    torch.testing.assert_close(slope, wanted, rtol=1e-6, atol=1e-8)


def test_gradients_match_finite_differences_at_the_seam():
    eta = torch.tensor([-1e3, -1.5, -0.7, 0.0, 0.2, 0.9, 1.1, 40.0]).double().requires_grad_()
    x = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(lambda eta: TiltedUniform(eta).log_prob(x), eta)


def test_shapes_of_output_and_score():
    likelihood = ContinuousBernoulli((1, 2, 2))
    assert likelihood.output_shape == (1, 2, 2)
    output = torch.linspace(-5, 5, 4).double().view(1, 1, 1, 2, 2)
    x = torch.tensor([0.1, 0.2, 0.7, 1.0]).double().view(1, 1, 2, 2)
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((1, 1), (1, 2, 2))
    pairs = zip(output.flatten().tolist(), x.flatten().tolist(), strict=True)
    wanted = sum(float(exact(*pair)[0]) for pair in pairs)
    assert p.log_prob(x).item() == pytest.approx(wanted, rel=1e-12)


def test_it_takes_grey_values_only():
    inside = ContinuousBernoulli((4,)).support.check(torch.tensor([0.0, 0.3, 1.0, 1.01]))
    assert inside.tolist() == [True, True, True, False]
