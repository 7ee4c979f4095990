"""Every map in float32 against the same map in float64, at extreme parameters too."""

import copy

import pytest
import torch

from vaeflow.distributions.numerics import log_softplus
from vaeflow.maps.householder import Reflections
from vaeflow.maps.planar import PlanarMaps, planar_log_det, planar_root
from vaeflow.maps.radial import RadialMap
from vaeflow.maps.spline import Spline
from vaeflow.maps.stack import Stack
from vaeflow.maps.univariate import Affine, Gate
from vaeflow.nn.masked import Hidden

LATENT, IMAGES, DRAWS = 4, 30, 30


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(seen, wanted, atol):
    for one, other in zip(seen, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=atol)


def planar(log_slope):
    """Return w, u and b of maps with softplus(w·u) = exp(log_slope), and z near their bends."""
    w = randn(IMAGES, 1, LATENT)
    w = 2 * w / w.norm(dim=-1, keepdim=True)
    wu = torch.log(torch.expm1(torch.tensor(log_slope).double().exp())).float()
    u = randn(IMAGES, 1, LATENT, seed=1)
    u = u + w * (wu - (w * u).sum(-1, keepdim=True)) / 4
    b, z = 0.1 * randn(IMAGES, 1, seed=2), randn(DRAWS, IMAGES, LATENT, seed=3)
    away = 10 ** (-4 * torch.rand(DRAWS, IMAGES, 1, generator=torch.Generator().manual_seed(4)))
    bend = z - w[:, 0] * ((w[:, 0] * z).sum(-1, keepdim=True) + b) / 4
    return (w, u, b), bend + away * w[:, 0] / 2


@pytest.mark.parametrize("log_slope", [-1.0, -4.0, -8.0, -12.0, -16.0, -20.0, -40.0, 5.0])
def test_planar_inverse_near_the_bend(log_slope):
    given, z0 = planar(log_slope)
    wide = PlanarMaps(*(x.double() for x in given))
    z = wide(z0.double())[0].float()
    assert_close(PlanarMaps(*given).inverse(z), wide.inverse(z.double()), 2e-6)
    # Its log-determinants reach from where the map is flat to where it is steep.
    assert wide.inverse(z.double())[1].abs().amax() > min(8, abs(log_slope) / 2)


@pytest.mark.parametrize("wu", [-4.0, -12.0, -20.0, -40.0])
def test_planar_root_near_the_bend(wu):
    log_slope = log_softplus(torch.tensor(wu))
    target = torch.logspace(-12, 0, 60)
    wide = planar_root(target.double(), log_slope.double())
    root = planar_root(target, log_slope)
    torch.testing.assert_close(root.double(), wide, rtol=1e-6, atol=0)
    seen, wanted = planar_log_det(root, log_slope), planar_log_det(wide, log_slope.double())
    torch.testing.assert_close(seen.double(), wanted, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("log_slope", [-1.0, -8.0, -16.0, 5.0])
def test_planar_forward(log_slope):
    given, z = planar(log_slope)
    wide = PlanarMaps(*(x.double() for x in given))
    # A pre-activation a is rounded by some 1e-7: log|det| turns by at most 1/√(1 + w·û) of that.
    atol = 1e-6 * torch.e ** (abs(log_slope) / 2)
    assert_close(PlanarMaps(*given)(z), wide(z.double()), atol)


@pytest.mark.parametrize("reach", [1e-6, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("size", [1.0, 10.0, 50.0, 200.0])
def test_radial_both_ways(size, reach):
    centre, a, b = randn(IMAGES, LATENT), size * randn(IMAGES, seed=1), size * randn(IMAGES, seed=2)
    z = centre + reach * randn(DRAWS, IMAGES, LATENT, seed=3)
    narrow, wide = RadialMap(centre, a, b), RadialMap(centre.double(), a.double(), b.double())
    assert_close(narrow.inverse(z), wide.inverse(z.double()), 2e-6)
    assert_close(narrow(z), wide(z.double()), 1e-6 * (10 + wide.s.max().item()))


@pytest.mark.parametrize("size", [1e-38, 1e-10, 1.0, 1e30])
def test_reflections_both_ways(size):
    v, z = size * randn(IMAGES, 5, LATENT), randn(DRAWS, IMAGES, LATENT, seed=1)
    narrow, wide = Reflections(v), Reflections(v.double())
    assert_close(narrow(z), wide(z.double()), 5e-6)
    assert_close(narrow.inverse(z), wide.inverse(z.double()), 5e-6)


@pytest.mark.parametrize("size", [0.1, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("f", [Affine(), Gate(), Spline(8)], ids=repr)
def test_univariate_functions_both_ways(f, size):
    theta, z0 = size * randn(DRAWS, IMAGES, f.size, LATENT), randn(DRAWS, IMAGES, LATENT, seed=1)
    z, log_slope = f(z0.double(), theta.double())
    # A knot of a spline is rounded by 5e-7, which its narrow bins magnify.
    atol = 1e-3 if isinstance(f, Spline) else 2e-6 * (1 + size)
    assert_close(f(z0, theta), (z, log_slope), atol)
    z = z.float()
    assert_close(f.inverse(z, theta), f.inverse(z.double(), theta.double()), 2e-6 * (1 + size))


@pytest.mark.parametrize("size", [1.0, 3.0])
@pytest.mark.parametrize("form", ["coupling", "autoregressive"])
@pytest.mark.parametrize("f", [Affine(), Gate(), Spline(8)], ids=repr)
def test_conditioned_maps_both_ways(f, form, size):
    """A network magnifies the rounding of z: what an inverse finds must be mapped back onto z."""
    torch.manual_seed(0)
    stack = Stack(LATENT, 6, f, Hidden(16, 1, "elu"), form=form, steps=1)
    with torch.no_grad():
        for p in stack.parameters():
            p.normal_().mul_(size / p.shape[-1] ** 0.5)
        h, z0 = randn(IMAGES, 6), randn(DRAWS, IMAGES, LATENT, seed=1)
        (narrow,), (wide,) = stack(h), copy.deepcopy(stack).double()(h.double())
        z, log_det = wide(z0.double())
        atol = 1e-3 if isinstance(f, Spline) else 1e-6
        assert_close(narrow(z0), (z, log_det), atol * size)
        found, log_det = narrow.inverse(z.float())
        again, wanted = wide(found.double())
    torch.testing.assert_close(again, z, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(log_det.double(), wanted, rtol=1e-6, atol=atol)
