"""Functions that densities share, against mpmath."""

import mpmath
import pytest
import torch

from vaeflow.distributions.numerics import (
    HALF_LOG_TWO_PI,
    at_least_float32,
    log_rising,
    log_softplus,
    softplus,
    widest,
)

PRECISION = [(torch.float64, 1e-12), (torch.float32, 1e-6)]
NUMBERS = [-1e3, -100.0, -20.0, -16.0, -15.001, -15.0, -14.999, -5.0, 0.0, 5.0, 19.9, 20.1, 40.5]


@pytest.fixture(autouse=True)
def _digits():
    """Give mpmath digits to spare: log(1 + eˣ) needs 435 of them at x = −1000."""
    with mpmath.workdps(1000):
        yield


def exact(x):
    """Return log(1 + eˣ), its derivative, the logarithm of both and the derivative of that."""
    x = mpmath.mpf(x)
    value, slope = mpmath.log1p(mpmath.exp(x)), 1 / (1 + mpmath.exp(-x))
    return value, slope, mpmath.log(value), slope / value


def relative_error(found, expected):
    return abs(mpmath.mpf(found.item()) - expected) / max(abs(expected), mpmath.mpf(2) ** -126)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("number", [*NUMBERS, 1e3])
def test_softplus_and_its_logarithm(number, dtype, tolerance):
    x = torch.tensor(number, dtype=dtype, requires_grad=True)
    value, slope, log_value, log_slope = exact(x.item())
    found = softplus(x)
    found_log = log_softplus(x)
    assert relative_error(found, value) < tolerance
    assert relative_error(torch.autograd.grad(found, x)[0], slope) < tolerance
    assert relative_error(found_log, log_value) < tolerance
    # At −15 the series is exact to e^(2x), which is the error of its derivative too.
    assert relative_error(torch.autograd.grad(found_log, x)[0], log_slope) < 10 * tolerance


def test_log_softplus_at_its_zero():
    x = torch.log(torch.expm1(torch.tensor(1.0, dtype=torch.float64)))
    assert log_softplus(x).abs() < 1e-15


def test_half_log_two_pi():
    assert pytest.approx(float(mpmath.log(2 * mpmath.pi) / 2), rel=1e-15) == HALF_LOG_TWO_PI


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32(dtype):
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_higher_precision_is_kept(dtype):
    x = torch.ones(2, dtype=dtype)
    assert at_least_float32(x) is x


def test_widest_is_float64():
    assert widest(torch.ones(2)).dtype == torch.float64
    x = torch.ones(2, dtype=torch.float64)
    assert widest(x) is x


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("nu", [0.1, 0.5, 1.0, 5.0, 16.0, 100.0, 1e4, 1e7, 1e12])
def test_ratio_of_gammas_half_a_step_apart(nu, dtype, tolerance):
    """log Γ((ν + 1)/2) − log Γ(ν/2), the constant of Student's t, and its derivative in ν."""
    leaf = torch.tensor(nu, dtype=dtype, requires_grad=True)
    half = torch.tensor(0.5, dtype=dtype)
    value = log_rising(half, leaf / 2) + 0.5 * torch.log(leaf / 2)
    (slope,) = torch.autograd.grad(value, leaf)
    with mpmath.workdps(60):
        x = mpmath.mpf(leaf.item()) / 2
        wanted = mpmath.loggamma(x + 0.5) - mpmath.loggamma(x)
        wanted_slope = (mpmath.digamma(x + 0.5) - mpmath.digamma(x)) / 2
    assert relative_error(value, wanted) < tolerance
    assert relative_error(slope, wanted_slope) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 3e-6)])
@pytest.mark.parametrize("r", [1e-3, 1.0, 3.5, 10.0, 1e4, 1e6, 1e12])
def test_log_rising_of_counts(r, dtype, tolerance):
    leaf = torch.tensor(r, dtype=dtype, requires_grad=True)
    with mpmath.workdps(60):
        exact = mpmath.mpf(leaf.item())
        for x in (0, 1, 3, 20, 300, 10_000):
            value = log_rising(torch.tensor(x, dtype=dtype), leaf)
            (slope,) = torch.autograd.grad(value, leaf)
            wanted = mpmath.loggamma(x + exact) - mpmath.loggamma(exact) - x * mpmath.log(exact)
            assert value.item() == pytest.approx(float(wanted), abs=tolerance * (1 + x))
            wanted = float(mpmath.digamma(x + exact) - mpmath.digamma(exact) - x / exact)
            within = 30 * tolerance
            assert slope.item() == pytest.approx(wanted, rel=within, abs=within)
