"""Functions that densities share, against mpmath."""

import mpmath
import pytest
import torch

from vaeflow.distributions.numerics import HALF_LOG_TWO_PI, at_least_float32, log_softplus, softplus

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
