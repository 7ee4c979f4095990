"""The rational-quadratic spline against zuko's, Pyro's, and autograd's derivatives."""

import math

import pytest
import torch
import torch.nn.functional as F
from pyro.distributions.transforms.spline import _monotonic_rational_spline
from torch.autograd import gradcheck
from torch.distributions import Distribution

_before = Distribution._validate_args
import zuko.transforms  # noqa: E402  (it switches the validation of arguments off)

Distribution.set_default_validate_args(_before)

from vaeflow.maps.spline import Spline  # noqa: E402

TOLERANCE = {"rtol": 0, "atol": 1e-10}
BOUND = 5.0


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def case(bins, *, scale=1.0, spread=3.0, seed=0):
    """Return a spline, z (400, 3) within the box and beyond, and θ (400, size, 3)."""
    spline = Spline(bins, BOUND)
    return spline, spread * noise(400, 3, seed=seed), scale * noise(400, spline.size, 3, seed=9)


def shares(logits, bins):
    return 0.9 * logits.softmax(-1) + 0.1 / bins


def slopes(logits):
    return 1e-3 + F.softplus(logits + math.log(math.exp(0.999) - 1))


def by_kind(theta, bins):
    """Return θ's logits of widths, heights and slopes, the knots last."""
    return theta.movedim(-2, -1).split([bins, bins, bins - 1], dim=-1)


def zukos(theta, bins):
    """Return zuko's transform, given our knots."""
    widths, heights, inner = by_kind(theta, bins)
    f = zuko.transforms.MonotonicRQSTransform(widths, heights, inner, bound=BOUND)
    f.horizontal, f.vertical = (
        BOUND * (2 * F.pad(shares(x, bins).cumsum(-1), (1, 0)) - 1) for x in (widths, heights)
    )
    f.derivatives = F.pad(slopes(inner), (1, 1), value=1.0)
    return f


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("bins", [2, 3, 8])
def test_both_directions_equal_zukos(bins, scale):
    spline, z, theta = case(bins, scale=scale)
    f = zukos(theta, bins)
    y, log_slope = spline(z, theta)
    expected, expected_log_slope = f.call_and_ladj(z)
    torch.testing.assert_close(y, expected, **TOLERANCE)
    torch.testing.assert_close(log_slope, expected_log_slope, rtol=0, atol=1e-8)
    back, _ = spline.inverse(z, theta)
    torch.testing.assert_close(back, f.inv(z), rtol=0, atol=1e-6 if scale > 1 else 1e-9)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("bins", [4, 8])
def test_same_knots_give_pyros_spline(bins, inverse):
    spline, z, theta = case(bins)
    widths, heights, inner = by_kind(theta, bins)
    expected, expected_log_slope = _monotonic_rational_spline(
        z,
        widths.softmax(-1),
        heights.softmax(-1),
        slopes(inner) - 1e-3,
        inverse=inverse,
        bound=BOUND,
        min_bin_width=0.1 / bins,
        min_bin_height=0.1 / bins,
        min_derivative=1e-3,
    )
    y, log_slope = (spline.inverse if inverse else spline)(z, theta)
    # The slope at their box's ends is 0.999 where it should be 1: compare in the bins between.
    sign = -1 if inverse else 1
    at = spline._pieces(theta)
    ends = at.y if inverse else at.x
    between = (z > ends[:, 1]) & (z < ends[:, -1])
    assert between.sum() > 500
    torch.testing.assert_close(y[between], expected[between], rtol=0, atol=1e-5)
    log_slope = sign * log_slope[between]
    torch.testing.assert_close(log_slope, expected_log_slope[between], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("bins", [2, 8, 20])
def test_log_slope_is_autograds_both_ways(bins, scale):
    spline, z, theta = case(bins, scale=scale)
    z.requires_grad_()
    for f, sign in ((spline, 1), (spline.inverse, -1)):
        y, log_slope = f(z, theta)
        (slope,) = torch.autograd.grad(y.sum(), z)
        assert (slope > 0).all()
        torch.testing.assert_close(sign * log_slope, slope.log(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("bins", [2, 8])
def test_inverse_undoes_the_spline(bins, scale):
    spline, z, theta = case(bins, scale=scale)
    y, log_slope = spline(z, theta)
    back, again = spline.inverse(y, theta)
    torch.testing.assert_close(back, z, **TOLERANCE)
    torch.testing.assert_close(again, log_slope, rtol=0, atol=1e-9)


def test_identity_at_zero_and_outside_the_box():
    spline, z, theta = case(8)
    y, log_slope = spline(z, torch.zeros_like(theta))
    torch.testing.assert_close(y, z, rtol=0, atol=1e-14)
    torch.testing.assert_close(log_slope, torch.zeros_like(z), rtol=0, atol=1e-14)
    far = z.sign() * (BOUND + z.abs())
    for f in (spline, spline.inverse):
        y, log_slope = f(far, 10 * theta)
        assert torch.equal(y, far)
        assert not log_slope.any()


def test_value_and_slope_are_continuous_at_knots():
    spline, _, theta = case(5)
    x = spline._pieces(theta).x[0]  # (bins, 3)
    knots = torch.cat([x, torch.full((1, 3), BOUND, dtype=torch.float64)])
    theta = theta[:1].expand(len(knots), -1, -1)
    below, above = (spline(knots + e, theta) for e in (-1e-9, 1e-9))
    for left, right in zip(below, above, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-6)


def test_both_directions_pass_gradcheck():
    spline, z, theta = case(4)
    z, theta = z[:6].requires_grad_(), theta[:6].requires_grad_()
    assert gradcheck(spline, (z, theta))
    assert gradcheck(spline.inverse, (z, theta))


@pytest.mark.parametrize("size", [10.0, 50.0])
def test_extremes_are_finite_in_float32(size):
    spline = Spline(8, BOUND)
    theta = (size * noise(4000, spline.size, 3).sign()).float().requires_grad_()
    z = noise(4000, 3, seed=1).float()
    z[::2] *= 2
    z[::7] *= 1e4
    z[:6] = torch.tensor([0.0, BOUND, -BOUND, 1e-30, 1e4, -1e4])[:, None]
    z.requires_grad_()
    for f in (spline, spline.inverse):
        y, log_slope = f(z, theta)
        for value in (y, log_slope):
            assert value.isfinite().all()
            for gradient in torch.autograd.grad(value.sum(), (z, theta), retain_graph=True):
                assert gradient.isfinite().all()


def test_inverse_keeps_its_digits_in_float32():
    spline, z, theta = case(8, scale=3.0)
    wide, narrow = spline.inverse(z, theta), spline.inverse(z.float(), theta.float())
    steep = wide[1] < -4  # there the inverse itself magnifies the rounding of z
    error = (narrow[0].double() - wide[0]).abs()
    assert error[~steep].max() < 1e-3
    assert not narrow[0].isnan().any()
