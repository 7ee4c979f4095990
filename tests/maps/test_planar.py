"""Planar maps against autograd, the textbook loop, Pyro and mpmath."""

from itertools import product

import mpmath
import pytest
import torch
import torch.nn.functional as F
from pyro.distributions import transforms as pyro_transforms
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian

from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import log_softplus
from vaeflow.maps.planar import (
    PlanarMaps,
    _Constrained,
    _Stack,
    planar_log_det,
    planar_root,
)

TOLERANCE = {"rtol": 0, "atol": 1e-10}
# float32 holds e^-1000 no more than float64 does: every form must get there in logarithms.
SLOPES = [-1000.0, -100.0, -16.0, -1.0, 0.0, 10.0, 100.0, 1000.0]
PRE_ACTIVATIONS = [0.0, 1e-8, 0.1, 1.0, 9.0, 20.0, 50.0]


@pytest.fixture(autouse=True)
def _precision():
    """Give mpmath digits to spare: 1 + w·û loses 435 of them at w·u = −1000."""
    with mpmath.workdps(1000):
        yield


def parameters(latent, *, images=3, steps=4, scale=1.0, seed=0):
    """Return w, u (B, T, L) and b (B, T) with entries of size `scale`."""
    generator = torch.Generator().manual_seed(1000 * seed + latent)
    options = {"dtype": torch.float64, "generator": generator}
    w, u = scale * torch.randn(2, images, steps, latent, **options)
    return w, u, scale * torch.randn(images, steps, **options)


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def textbook(z, w, u, b):
    """Rezende & Mohamed 2015, eqs. 10-12 and appendix A.1, one map after the other."""
    log_det = 0
    for t in range(w.shape[-2]):
        wt, ut, bt = w[..., t, :], u[..., t, :], b[..., t]
        wu = (wt * ut).sum(-1, keepdim=True)
        u_hat = ut + (torch.log1p(wu.exp()) - 1 - wu) * wt / (wt * wt).sum(-1, keepdim=True)
        a = (wt * z).sum(-1) + bt
        psi = (1 - torch.tanh(a) ** 2)[..., None] * wt
        log_det = log_det + torch.log((1 + (u_hat * psi).sum(-1)).abs())
        z = z + u_hat * torch.tanh(a)[..., None]
    return z, log_det


# x10 brings |w·u| to the hundreds; z and b shrink as w grows, so that the maps still bend near z.
@pytest.mark.parametrize("scale", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(3))
def test_log_det_is_that_of_the_jacobian(latent, scale, seed):
    w, u, b = parameters(latent, scale=scale, seed=seed)
    maps = PlanarMaps(w, u, b / scale)
    z = noise(3, latent, seed=seed) / max(1, scale)
    _, log_det = maps(z)
    full = jacobian(lambda x: maps(x)[0], z)  # (B, L, B, L)
    expected = torch.linalg.slogdet(torch.stack([full[i, :, i] for i in range(3)])).logabsdet
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(log_det, expected, **TOLERANCE)
    # No image sees another's z.
    for i, j in ((0, 1), (1, 0), (2, 0)):
        assert full[i, :, j].count_nonzero() == 0


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("latent", [1, 2, 5, 16])
def test_recursion_equals_the_textbook_loop(latent, scale):
    w, u, b = parameters(latent, scale=scale / latent**0.5, steps=8)
    z0 = noise(7, 3, latent)
    z, log_det = PlanarMaps(w, u, b)(z0)
    expected_z, expected_log_det = textbook(z0, w, u, b)
    assert expected_log_det.shape == (7, 3)
    torch.testing.assert_close(z, expected_z, **TOLERANCE)
    torch.testing.assert_close(log_det, expected_log_det, **TOLERANCE)


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
def test_maps_equal_pyros(latent):
    w, u, b = parameters(latent, images=1, steps=5, scale=2 / latent**0.5, seed=1)
    z0 = noise(7, 1, latent)
    z, log_det = PlanarMaps(w, u, b)(z0)
    expected_z, expected_log_det = z0, 0
    for t in range(5):
        f = pyro_transforms.Planar(latent).double()
        for name, value in (("w", w[0, t]), ("u", u[0, t]), ("bias", b[0, t, None])):
            getattr(f, name).data.copy_(value)
        y = f(expected_z)
        expected_log_det = expected_log_det + f.log_abs_det_jacobian(expected_z, y)
        expected_z = y.detach()
    torch.testing.assert_close(z, expected_z, **TOLERANCE)
    torch.testing.assert_close(log_det, expected_log_det.detach(), **TOLERANCE)


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
def test_every_map_is_invertible(scale):
    w, u, b = parameters(3, images=50, scale=scale)
    maps = PlanarMaps(w, u, b)
    slope = (w * maps.u_hat).sum(-1)
    # w·û = softplus(w·u) − 1 ≥ −1, up to the rounding of the sum of products.
    rounding = 1e-14 * (w.abs() * maps.u_hat.abs()).sum(-1)
    assert (slope + 1 >= -rounding).all()
    torch.testing.assert_close(maps.log_slope, log_softplus((w * u).sum(-1)), **TOLERANCE)
    torch.testing.assert_close(slope, F.softplus((w * u).sum(-1)) - 1, rtol=1e-10, atol=1e-10)


# mpmath's own formulas, for scalars


def mp_softplus(x):
    return mpmath.log1p(mpmath.exp(mpmath.mpf(x)))


def mp_log_det(wu, a):
    """Return log(1 + (softplus(wu) − 1) sech²a) and its derivatives in a and wu."""
    slope = mp_softplus(wu) - 1
    a = mpmath.mpf(a)
    sech2 = mpmath.sech(a) ** 2
    det = 1 + slope * sech2
    d_a = -2 * slope * sech2 * mpmath.tanh(a) / det
    d_wu = sech2 / (1 + mpmath.exp(-mpmath.mpf(wu))) / det
    return mpmath.log(det), d_a, d_wu


def close(value, expected, rel, floor):
    """Compare to mpmath's number, relatively down to `floor`."""
    return abs(mpmath.mpf(value) - expected) <= rel * max(abs(expected), mpmath.mpf(floor))


# Relative, but for log-determinants near 0: there det = 1 + tiny holds as many digits as the dtype
# has, and a bound of hundreds of nats sees only the absolute error.
@pytest.mark.parametrize(
    ("dtype", "rel", "floor"),
    [(torch.float64, 1e-12, 1e-3), (torch.float32, 1e-6, 0.3)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("wu", SLOPES)
@pytest.mark.parametrize("magnitude", PRE_ACTIVATIONS)
def test_planar_log_det_against_mpmath(wu, magnitude, dtype, rel, floor):
    for sign in (1, -1):
        a = torch.tensor(sign * magnitude, dtype=dtype, requires_grad=True)
        x = torch.tensor(wu, dtype=dtype, requires_grad=True)
        value = planar_log_det(a, log_softplus(x))
        expected, d_a, d_wu = mp_log_det(x.item(), a.item())
        assert close(value.item(), expected, rel, floor)
        grads = torch.autograd.grad(value, (a, x))
        assert close(grads[0].item(), d_a, rel, floor)
        assert close(grads[1].item(), d_wu, rel, floor)


def mp_textbook(z, w, u, b):
    """The textbook loop for one image and one sample in mpmath's precision."""
    z = [mpmath.mpf(v) for v in z.tolist()]
    log_det = mpmath.mpf(0)
    for wt, ut, bt in zip(w.tolist(), u.tolist(), b.tolist(), strict=True):
        wt, ut = [mpmath.mpf(v) for v in wt], [mpmath.mpf(v) for v in ut]
        wu, ww = mpmath.fdot(wt, ut), mpmath.fdot(wt, wt)
        shift = (mp_softplus(wu) - 1 - wu) / ww
        u_hat = [p + shift * q for p, q in zip(ut, wt, strict=True)]
        a = mpmath.fdot(wt, z) + mpmath.mpf(bt)
        log_det += mpmath.log(abs(1 + mpmath.sech(a) ** 2 * mpmath.fdot(wt, u_hat)))
        z = [p + mpmath.tanh(a) * q for p, q in zip(z, u_hat, strict=True)]
    return z, log_det


@pytest.mark.parametrize("scale", [3.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_saturated_stack_against_mpmath(scale, seed):
    w, u, b = parameters(3, images=4, scale=scale, seed=seed)
    z0 = noise(4, 3, seed=seed)
    z, log_det = PlanarMaps(w, u, b)(z0)
    for i in range(4):
        expected_z, expected_log_det = mp_textbook(z0[i], w[i], u[i], b[i])
        assert all(close(v, e, 1e-12, 100) for v, e in zip(z[i].tolist(), expected_z, strict=True))
        assert close(log_det[i].item(), expected_log_det, 1e-10, 1)


@pytest.mark.parametrize("flat", [[0], [1], [0, 1, 2]], ids=["first", "middle", "all"])
def test_map_of_zero_w_is_a_translation(flat):
    w, u, b = parameters(5, steps=3)
    w[:, flat] = 0
    leaves = [x.clone().requires_grad_() for x in (w, u, b)]
    z0 = noise(7, 3, 5)
    z, log_det = PlanarMaps(*leaves)(z0)
    expected = torch.zeros(7, 3, dtype=torch.float64)
    moved = z0
    for t in range(3):
        if t in flat:
            moved = moved + u[:, t] * torch.tanh(b[:, t, None])
        else:
            moved, term = textbook(moved, w[:, [t]], u[:, [t]], b[:, [t]])
            expected = expected + term
    torch.testing.assert_close(z, moved, **TOLERANCE)
    torch.testing.assert_close(log_det, expected, **TOLERANCE)
    for grad in torch.autograd.grad(z.sum() + log_det.sum(), leaves):
        assert grad.isfinite().all()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("samples", [1, 3])
def test_stack_function_passes_gradcheck(steps, samples):
    torch.manual_seed(0)
    shapes = [(3, samples, 2), (3, steps, 2), (3, steps, 2), (3, steps), (3, steps, steps)]
    given = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (*shapes, (3, steps))]
    assert gradcheck(_Stack.apply, given)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 2), (4, 2, 3, 2)], ids=["B", "KB", "two more"])
def test_leading_shapes(shape):
    maps = PlanarMaps(*parameters(2, images=3))
    z0 = noise(*shape)
    z, log_det = maps(z0)
    assert log_det.shape == shape[:-1]
    for index in product(*map(range, shape[:-2])):
        torch.testing.assert_close((z[index], log_det[index]), maps(z0[index]), **TOLERANCE)


@pytest.mark.parametrize("a", [0.0, 1e-30, 1e-3, -0.5, 3.0, -40.0])
@pytest.mark.parametrize("wu", [-80.0, -16.0, -1.0, 0.0, 0.5413, 40.0, 90.0])
def test_stack_function_at_extremes(a, wu):
    """In float32, against autograd through the formula in float64."""
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    narrow = [torch.tensor([[a]]), log_softplus(torch.tensor([[wu]]))]
    b, log_slope = (x.requires_grad_() for x in narrow)
    log_det = _Stack.apply(zero, one, zero, b, zero, log_slope)[1]
    seen = torch.autograd.grad(log_det.sum(), narrow)
    wide = [x.detach().double().requires_grad_() for x in narrow]
    expected = torch.autograd.grad(planar_log_det(*wide).sum(), wide)
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wu", [-80.0, -16.0, -1.0, 0.0, 0.5413, 3.0, 90.0])
@pytest.mark.parametrize("ww", [1e-6, 0.3, 50.0])
def test_constraint_function_has_autograds_gradient(wu, ww):
    def by_formula(w, u):
        wu = (w * u).sum(-1)
        c = (torch.nn.functional.softplus(wu, threshold=40) - 1 - wu) / (w * w).sum(-1)
        u_hat = u + c[..., None] * w
        return u_hat, log_softplus(wu), torch.einsum("btl,bjl->btj", w, u_hat)

    torch.manual_seed(0)
    w, u = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    w[:, 0] *= ww**0.5 / w[:, 0].norm(dim=-1, keepdim=True)
    u[:, 0] += w[:, 0] * (wu - (w * u).sum(-1)[:, [0]]) / ww
    given = [x.requires_grad_() for x in (w, u)]
    for seen, expected in zip(_Constrained.apply(w, u), by_formula(w, u), strict=True):
        torch.testing.assert_close(seen, expected, rtol=1e-12, atol=1e-12)
        weights = torch.randn_like(expected)
        own = torch.autograd.grad((seen * weights).sum(), given, retain_graph=True)
        autograds = torch.autograd.grad((expected * weights).sum(), given, retain_graph=True)
        for one, other in zip(own, autograds, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * other.abs().max().item())


@pytest.mark.parametrize("latent", [1, 3])
def test_maps_pass_gradcheck(latent):
    w, u, b = (x.requires_grad_() for x in parameters(latent, images=2))
    z = noise(3, 2, latent).requires_grad_()
    assert gradcheck(lambda z, w, u, b: PlanarMaps(w, u, b)(z), (z, w, u, b))


def integral(f):
    """Integrate N(f(x); 0, I) |det ∂f/∂x| over the plane: 1 if and only if f is a bijection."""
    ticks = torch.linspace(-12, 12, 401, dtype=torch.float64)
    z, log_det = f(torch.cartesian_prod(ticks, ticks)[:, None])
    log_density = -0.5 * (z * z).sum(-1) - torch.log(torch.tensor(2 * torch.pi)) + log_det
    return log_density.exp().sum().item() * (24 / 400) ** 2


@pytest.mark.parametrize("seed", range(4))
def test_stack_is_a_bijection_of_the_plane(seed):
    maps = PlanarMaps(*parameters(2, images=1, steps=3, scale=1.5, seed=seed))
    assert integral(maps) == pytest.approx(1, abs=1e-6)


def test_integral_rejects_an_unconstrained_map():
    w = torch.tensor([[[1.5, 0.5]]], dtype=torch.float64)
    u = torch.tensor([[[-1.5, -0.5]]], dtype=torch.float64)
    b = torch.tensor([[0.3]], dtype=torch.float64)

    def unconstrained(z):
        a = (z * w[:, 0]).sum(-1) + b[:, 0]
        det = 1 + (w * u).sum(-1)[:, 0] / torch.cosh(a) ** 2
        return z + u[:, 0] * torch.tanh(a)[..., None], det.abs().log()

    assert abs(integral(unconstrained) - 1) > 0.1
    # With the constraint the same parameters pass.
    assert integral(PlanarMaps(w, u, b)) == pytest.approx(1, abs=1e-6)


def test_integral_rejects_a_wrong_sign():
    maps = PlanarMaps(*parameters(2, images=1, steps=3, scale=1.5))

    def flipped(z):
        z, log_det = maps(z)
        return z, -log_det

    assert abs(integral(flipped) - 1) > 0.01


# The inverse


def mp_target(a, wu):
    """Return a + (w·û) tanh(a) and its derivative in a."""
    a, slope = mpmath.mpf(a), mp_softplus(wu) - 1
    return a + slope * mpmath.tanh(a), 1 + slope * mpmath.sech(a) ** 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("wu", [*SLOPES, -5.0, 0.5, 0.6, 1e6])
def test_root_solves_its_equation(wu, dtype):
    a = torch.tensor([s * m for m in PRE_ACTIVATIONS for s in (1, -1)], dtype=torch.float64)
    targets = torch.tensor([float(mp_target(v, wu)[0]) for v in a.tolist()], dtype=dtype)
    log_slope = log_softplus(torch.tensor(wu, dtype=dtype))
    roots = planar_root(targets, log_slope)
    epsilon = torch.finfo(dtype).eps
    for root, target, wanted in zip(roots.tolist(), targets.tolist(), a.tolist(), strict=True):
        back, slope = mp_target(root, wu)
        # The root of a target that is rounded, and of a function that is evaluated in the dtype.
        rounding = 4 * epsilon * (abs(target) + abs(mp_softplus(wu) * root) + abs(root))
        assert abs(back - mpmath.mpf(target)) <= rounding
        if dtype is torch.float64 and slope > 1e-3:
            assert abs(root - wanted) <= 1e-9


@pytest.mark.parametrize("wu", [-1000.0, -16.0, -1.0, 0.0, 10.0, 1000.0])
@pytest.mark.parametrize("magnitude", [0.1, 1.0, 9.0])
def test_derivatives_of_the_root_against_mpmath(wu, magnitude):
    target, x = (
        torch.tensor(float(v), dtype=torch.float64, requires_grad=True)
        for v in (mp_target(magnitude, wu)[0], wu)
    )
    root = planar_root(target, log_softplus(x))
    d_target, d_x = torch.autograd.grad(root, (target, x))
    slope = mp_target(root.item(), wu)[1]
    assert close(d_target.item(), 1 / slope, 1e-10, 1e-3)
    sigmoid = 1 / (1 + mpmath.exp(-mpmath.mpf(wu)))
    assert close(d_x.item(), -sigmoid * mpmath.tanh(root.item()) / slope, 1e-10, 1e-3)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("latent", [1, 2, 5, 16])
def test_inverse_undoes_the_maps(latent, scale):
    maps = PlanarMaps(*parameters(latent, scale=scale / latent**0.5, steps=8))
    z0 = noise(7, 3, latent, seed=1)
    z, log_det = maps(z0)
    back, again = maps.inverse(z)
    torch.testing.assert_close(back, z0, rtol=0, atol=1e-9)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-8)


def test_inverse_in_float32():
    given = parameters(5, scale=0.5, steps=8)
    z = PlanarMaps(*given)(noise(7, 3, 5))[0]
    wide = PlanarMaps(*given).inverse(z)
    narrow = PlanarMaps(*(x.float() for x in given)).inverse(z.float())
    for seen, wanted in zip(narrow, wide, strict=True):
        assert seen.dtype == torch.float32
        torch.testing.assert_close(seen.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wu", [-1000.0, -40.0, 300.0])
def test_inverse_of_a_steep_map_against_mpmath(wu):
    w = torch.tensor([0.6, -0.8, 1.0], dtype=torch.float64)
    u, b = wu * w / (w @ w), torch.tensor(0.25, dtype=torch.float64)
    for z0 in (3 * noise(20, 3)).unbind(0):
        if abs(w @ z0 + b) < 0.5:  # where the map is flat, rounding z loses digits of z0
            continue
        z, log_det = mp_textbook(z0, w[None], u[None], b[None])
        z = torch.tensor([[float(v) for v in z]], dtype=torch.float64)
        back, again = PlanarMaps(w[None, None], u[None, None], b[None, None]).inverse(z)
        torch.testing.assert_close(back[0], z0, rtol=0, atol=1e-10)
        assert close(again.item(), log_det, 1e-10, 1)


@pytest.mark.parametrize("flat", [[0], [1], [0, 1, 2]], ids=["first", "middle", "all"])
def test_inverse_of_a_map_of_zero_w(flat):
    w, u, b = parameters(3, steps=3, scale=0.7)
    w[:, flat] = 0
    leaves = [x.clone().requires_grad_() for x in (w, u, b)]
    maps, z0 = PlanarMaps(*leaves), noise(7, 3, 3)
    back, log_det = maps.inverse(maps(z0)[0].detach())
    torch.testing.assert_close(back, z0, rtol=0, atol=1e-9)
    for grad in torch.autograd.grad(back.sum() + log_det.sum(), leaves):
        assert grad.isfinite().all()


def test_inverse_of_steep_maps_is_finite_where_they_are_flat():
    w = torch.tensor([[[1.0, 0.0]]])
    for wu in (-1000.0, 1000.0):
        leaves = [w.clone().requires_grad_(), (wu * w).requires_grad_(), torch.zeros(1, 1)]
        for z in (torch.zeros(1, 2), torch.tensor([[1e-30, 5.0]]), torch.tensor([[1e4, 0.0]])):
            back, log_det = PlanarMaps(*leaves).inverse(z)
            assert back.isfinite().all()
            assert not log_det.isnan().any()


@pytest.mark.parametrize("latent", [1, 3])
def test_inverse_passes_gradcheck(latent):
    w, u, b = (x.requires_grad_() for x in parameters(latent, images=2, scale=0.7))
    z = noise(3, 2, latent).requires_grad_()
    assert gradcheck(lambda z, w, u, b: PlanarMaps(w, u, b).inverse(z), (z, w, u, b))


@pytest.mark.parametrize("seed", range(4))
def test_density_integrates_to_one(seed):
    zero = torch.zeros(1, 2, dtype=torch.float64)
    maps = PlanarMaps(*parameters(2, images=1, steps=3, scale=0.7, seed=seed))
    q = Flow(DiagonalNormal(zero, zero), [maps])
    ticks = torch.linspace(-14, 14, 561, dtype=torch.float64)
    density = q.log_prob(torch.cartesian_prod(ticks, ticks)[:, None]).exp()
    assert density.sum().item() * 0.05**2 == pytest.approx(1, abs=2e-3)
