"""Radial maps against equation 14, autograd, Pyro and mpmath."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from pyro.distributions import transforms as pyro_transforms
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian

from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.maps.radial import RadialMap

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def parameters(latent, *, images=3, scale=1.0, seed=0):
    """Return c (B, L), a (B) and b (B)."""
    p = scale * noise(images, latent + 2, seed=seed)
    return p[:, :-2], p[:, -2], p[:, -1]


def textbook(z, c, a, b):
    """Eq. 14 of Rezende & Mohamed 2015, word for word."""
    alpha = F.softplus(a)
    beta = -alpha + F.softplus(b)
    r = (z - c).norm(dim=-1)
    h, slope = 1 / (alpha + r), -1 / (alpha + r) ** 2
    det = (1 + beta * h) ** (z.shape[-1] - 1) * (1 + beta * h + beta * slope * r)
    return z + (beta * h)[..., None] * (z - c), det.log()


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("latent", [1, 2, 5, 16])
def test_map_is_equation_14(latent, scale):
    p, z0 = parameters(latent, scale=scale), noise(7, 3, latent, seed=1)
    z, log_det = RadialMap(*p)(z0)
    assert log_det.shape == (7, 3)
    expected_z, expected_log_det = textbook(z0, *p)
    torch.testing.assert_close(z, expected_z, **TOLERANCE)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-9, atol=1e-9)
    full = jacobian(lambda x: RadialMap(*p)(x)[0], z0[0], vectorize=True)  # (B, L, B, L)
    signed = torch.linalg.slogdet(torch.stack([full[i, :, i] for i in range(3)]))
    torch.testing.assert_close(log_det[0], signed.logabsdet, rtol=1e-9, atol=1e-9)
    assert (signed.sign == 1).all()
    for i, j in ((0, 1), (1, 0), (2, 0)):
        assert full[i, :, j].count_nonzero() == 0


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(3))
def test_map_equals_pyros(latent, seed):
    c, a, b = parameters(latent, images=1, seed=seed)
    f = pyro_transforms.Radial(latent).double()
    f.x0.data.copy_(c[0])
    f.alpha_prime.data.copy_(a)
    f.beta_prime.data.copy_(b)
    z0 = noise(7, 1, latent, seed=9)
    y = f(z0)
    z, log_det = RadialMap(c, a, b)(z0)
    torch.testing.assert_close(z, y.detach(), **TOLERANCE)
    expected = f.log_abs_det_jacobian(z0, y).detach()
    torch.testing.assert_close(log_det, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("r", [1e-6, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("b", [-60.0, -15.0, 0.0, 15.0, 60.0])
@pytest.mark.parametrize("a", [-60.0, -15.0, 0.0, 15.0, 60.0])
def test_log_det_against_mpmath(a, b, r, dtype):
    latent = 3
    c = torch.zeros(1, latent, dtype=dtype)
    z0 = torch.tensor([[r, 0.0, 0.0]], dtype=dtype)
    f = RadialMap(c, torch.tensor([a], dtype=dtype), torch.tensor([b], dtype=dtype))
    z, log_det = f(z0)
    with mpmath.workdps(80):
        r = mpmath.mpf(z0[0, 0].item())
        alpha, s = (mpmath.log1p(mpmath.exp(mpmath.mpf(x))) for x in (a, b))
        h = 1 / (alpha + r)
        beta = s - alpha
        twist = 1 + beta * h - beta * r * h * h
        expected = (latent - 1) * mpmath.log(1 + beta * h) + mpmath.log(twist)
        moved = r * (1 + beta * h)
    epsilon = torch.finfo(dtype).eps
    assert abs(log_det.item() - expected) <= 50 * epsilon * (1 + abs(expected))
    assert abs(z[0, 0].item() - moved) <= 50 * epsilon * moved


@torch.no_grad()
def integral(maps):
    """Integrate N(f(x); 0, I) |det ∂f/∂x| over the plane: 1 if and only if f is a bijection."""
    ticks = torch.linspace(-12, 12, 801, dtype=torch.float64)
    z, total = torch.cartesian_prod(ticks, ticks)[:, None], 0
    for f in maps:
        z, log_det = f(z)
        total = total + log_det
    log_density = -0.5 * (z * z).sum(-1) - math.log(2 * math.pi) + total
    return log_density.exp().sum().item() * (24 / 800) ** 2


@pytest.mark.parametrize("seed", range(4))
def test_stack_is_a_bijection_of_the_plane(seed):
    maps = [RadialMap(*parameters(2, images=1, seed=10 * seed + t)) for t in range(3)]
    # A map has a kink at its centre, which a grid resolves no better.
    assert integral(maps) == pytest.approx(1, abs=2e-3)


def test_integral_rejects_an_unconstrained_map():
    c = torch.tensor([[0.3, -0.2]], dtype=torch.float64)

    def unconstrained(z):  # α = 1, β̂ = −3 < −α: it folds where r = √3 − 1
        r = (z - c).norm(dim=-1)
        v = 1 - 3 / (1 + r)
        return c + v[..., None] * (z - c), (v * (v + 3 * r / (1 + r) ** 2)).abs().log()

    assert abs(integral([unconstrained]) - 1) > 0.1


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_inverse_undoes_the_map(latent, scale):
    f, z0 = RadialMap(*parameters(latent, scale=scale)), noise(7, 3, latent, seed=1)
    z, log_det = f(z0)
    back, again = f.inverse(z)
    torch.testing.assert_close(back, z0, rtol=0, atol=1e-8)
    torch.testing.assert_close(again, log_det, rtol=1e-7, atol=1e-7)


def test_inverse_passes_gradcheck():
    leaves = [x.clone().requires_grad_() for x in parameters(3, images=2)]
    z = noise(4, 2, 3, seed=1).requires_grad_()
    assert gradcheck(lambda z, *p: RadialMap(*p).inverse(z), (z, *leaves))


@pytest.mark.parametrize("seed", range(4))
def test_density_integrates_to_one(seed):
    zero = torch.zeros(1, 2, dtype=torch.float64)
    maps = [RadialMap(*parameters(2, images=1, seed=10 * seed + t)) for t in range(3)]
    q = Flow(DiagonalNormal(zero, zero), maps)
    ticks = torch.linspace(-14, 14, 561, dtype=torch.float64)
    density = q.log_prob(torch.cartesian_prod(ticks, ticks)[:, None]).exp()
    # A map has a kink at its centre, which a grid resolves no better.
    assert density.sum().item() * 0.05**2 == pytest.approx(1, abs=2e-3)


def test_centre_is_fixed_with_finite_gradients():
    leaves = [x.clone().requires_grad_() for x in parameters(3)]
    z0 = leaves[0].detach().clone().requires_grad_()
    z, log_det = RadialMap(*leaves)(z0)
    torch.testing.assert_close(z, z0, **TOLERANCE)
    for grad in torch.autograd.grad(z.sum() + log_det.sum(), [z0, *leaves]):
        assert grad.isfinite().all()


def test_map_passes_gradcheck():
    leaves = [x.clone().requires_grad_() for x in parameters(3, images=2)]
    z = noise(4, 2, 3, seed=1).requires_grad_()
    assert gradcheck(lambda z, *p: RadialMap(*p)(z), (z, *leaves))
