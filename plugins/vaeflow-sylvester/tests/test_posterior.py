"""The Sylvester posterior keeps vaeflow's contract, and its log-determinant is right."""

import math
import subprocess
import sys

import pytest
import torch
from vaeflow_sylvester.posterior import (
    Sylvester,
    SylvesterMap,
    orthonormal,
    permutations,
    reflected,
    triangles,
)

from vaeflow.distributions import draw
from vaeflow.testing import contract, far_from_start

FEATURES = 7
# The sizes that the contract's small latent spaces leave room for.
KINDS = {
    "triangular": {},
    "householder": {"reflections": 3},
    "orthogonal": {"vectors": 3},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior(kind, latent, scale, seed, **options):
    part = Sylvester(latent, FEATURES, kind=kind, **options).double()
    return far_from_start(part, scale, seed)


test_contract = contract(
    "vaeflow-sylvester",
    also={"sylvester": [{"kind": kind, "steps": 2, **sizes} for kind, sizes in KINDS.items()]},
)


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@kinds
def test_log_det_is_that_of_the_jacobian(kind, latent):
    for seed in range(3):
        maps = posterior(kind, latent, 3.0, seed)(normal(1, FEATURES, seed=seed)).maps
        z = normal(1, latent, seed=seed)
        for f in maps:
            jacobian = torch.autograd.functional.jacobian(lambda z, f=f: f(z)[0], z)
            sign, wanted = torch.linalg.slogdet(jacobian.reshape(latent, latent))
            z, seen = f(z)
            assert sign == 1
            torch.testing.assert_close(seen, wanted.reshape(1), rtol=0, atol=1e-10)


@kinds
def test_is_a_bijection_of_the_plane(kind):
    """∫ N(f(x)) |det ∂f/∂x| dx = 1 knows nothing of how the determinant is computed."""
    axis = torch.linspace(-12, 12, 401, dtype=torch.float64)
    z, log_det = torch.cartesian_prod(axis, axis)[:, None, :], 0.0
    with torch.no_grad():
        for f in posterior(kind, 2, 1.5, 0, steps=2)(normal(1, FEATURES)).maps:
            z, term = f(z)
            log_det = log_det + term
    log_normal = -0.5 * (z**2).sum(-1) - math.log(2 * math.pi)
    integral = (log_normal + log_det).exp().sum() * (axis[1] - axis[0]) ** 2
    assert integral.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (5,)])
@kinds
def test_shapes_of_draws(kind, shape):
    sample = draw(posterior(kind, 5, 1.0, 0)(normal(3, FEATURES)), shape)
    assert sample.z.shape == (*shape, 3, 5)
    assert sample.log_base.shape == sample.log_det.shape == (*shape, 3)


@kinds
def test_no_steps_leave_the_base(kind):
    q = posterior(kind, 5, 1.0, 0, steps=0)(normal(3, FEATURES))
    torch.manual_seed(0)
    seen = draw(q, (2,))
    torch.manual_seed(0)
    wanted = draw(q.base, (2,))
    assert torch.equal(seen.z, wanted.z)
    assert torch.equal(seen.log_prob, wanted.log_prob)


@kinds
def test_no_image_touches_another(kind):
    h = normal(3, FEATURES).requires_grad_()
    sample = draw(posterior(kind, 4, 1.0, 0)(h), (2,))
    (gradient,) = torch.autograd.grad((sample.z.sum(-1) + sample.log_prob)[:, 1].sum(), h)
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("make", [permutations, reflected, orthonormal])
def test_q_is_orthonormal(make, latent):
    columns = max(1, latent // 2)
    q = make(normal(3, 4, columns, latent))
    assert q.shape == (3, 4, latent, columns if make is orthonormal else latent)
    eye = torch.eye(q.shape[-1]).double().expand(3, 4, -1, -1)
    torch.testing.assert_close(q.mT @ q, eye, rtol=0, atol=1e-14)


def test_q_is_orthonormal_for_nearly_equal_vectors():
    vectors = normal(1, 1, 1, 6) + 1e-7 * normal(1, 1, 4, 6, seed=1)
    for q in (orthonormal(vectors), reflected(vectors)):
        torch.testing.assert_close(q.mT @ q, torch.eye(q.shape[-1]).double()[None, None])


def test_q_alternates_between_identity_and_reversal():
    q = permutations(torch.empty(2, 3, 0, 4))
    x = torch.arange(4.0)
    assert (q[1] @ x).tolist() == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]


def test_q_is_the_product_of_the_reflections():
    vectors = normal(2, 3, 5, 4)
    wanted = torch.eye(4).double()
    for v in vectors.unbind(-2):
        v = v[..., None]
        wanted = wanted @ (torch.eye(4).double() - 2 * v @ v.mT / (v.mT @ v))
    torch.testing.assert_close(reflected(vectors), wanted)


def test_q_is_that_of_gram_schmidt():
    vectors = normal(2, 1, 3, 5)
    # Each vector is a combination of the columns up to its own, whose weight is positive.
    weights = vectors @ orthonormal(vectors)
    assert weights.triu(1).abs().max() < 1e-14
    assert (weights.diagonal(dim1=-2, dim2=-1) > 0).all()


def test_only_the_span_of_q_moves():
    """f changes z by a vector in Q's span that depends on R2 Qᵀz + b alone."""
    (f,) = posterior("orthogonal", 6, 2.0, 0, vectors=2, steps=1)(normal(1, FEATURES)).maps
    z = normal(1, 6)
    across = z - z @ f.q[0] @ f.q[0].T
    moved = f(z)[0] - z
    torch.testing.assert_close(moved @ f.q[0] @ f.q[0].T, moved)
    torch.testing.assert_close(f(z + 3 * across)[0] - z - 3 * across, moved)
    a = f.r2[0] @ f.q[0].T @ z[0] + f.b[0]
    torch.testing.assert_close(moved[0], f.q[0] @ f.r1[0] @ torch.tanh(a))


def test_triangles_fill_one_square():
    square, s2 = normal(3, 3), normal(3, seed=1)
    r1, r2, log_slope = triangles(square, s2)
    assert (r1.tril(-1) == 0).all()
    assert (r2.tril(-1) == 0).all()
    assert torch.equal(r1.triu(1), square.triu(1))
    assert torch.equal(r2.mT.tril(-1), square.tril(-1))
    assert torch.equal(r1.diagonal(), square.diagonal().tanh())
    assert torch.equal(r2.diagonal(), s2.tanh())
    torch.testing.assert_close(log_slope, torch.log1p(r1.diagonal() * r2.diagonal()))


def test_diagonals_learn_from_zero():
    """At s1 = 0 the derivative of log(1 + tanh s1 tanh s2) is tanh s2, though |s1| has none."""
    square, s2 = torch.zeros(3, 3).double().requires_grad_(), normal(3)
    (gradient,) = torch.autograd.grad(triangles(square, s2)[2].sum(), square)
    torch.testing.assert_close(gradient, torch.diag(s2.tanh()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_det_where_the_map_is_almost_flat(dtype):
    """At s1 = −s2 and a = 0 the slope is 1/cosh²(s), of which 1 − tanh²(s) keeps no digit."""
    s = torch.tensor([0.0, 1.0, 10.0, 30.0], dtype=dtype)
    r1, r2, log_slope = triangles(torch.diag(s)[None], -s[None])
    f = SylvesterMap(
        torch.eye(4, dtype=dtype)[None], r1, r2, log_slope, torch.zeros(1, 4).to(dtype)
    )
    z = torch.zeros(1, 4, dtype=dtype, requires_grad=True)
    log_det = f(z)[1]
    wanted = sum(-2 * math.log(math.cosh(x)) for x in s.tolist())
    assert log_det.item() == pytest.approx(wanted, rel=8 * torch.finfo(dtype).eps)
    assert torch.isfinite(torch.autograd.grad(log_det.sum(), z)[0]).all()


@kinds
def test_autocast_leaves_the_maps_alone(kind):
    part = far_from_start(Sylvester(5, FEATURES, kind=kind), 1.0)
    z = normal(2, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        maps = part(normal(2, FEATURES).float()).maps
        inside = [f(z) for f in maps]
    torch.testing.assert_close(maps[0].q.mT @ maps[0].q, torch.eye(5).expand(2, 5, 5))
    for f, (moved, log_det) in zip(maps, inside, strict=True):
        assert moved.dtype == log_det.dtype == torch.float32
        assert torch.equal(moved, f(z)[0])
        assert torch.equal(log_det, f(z)[1])


def test_more_vectors_than_dimensions_are_cut():
    part = Sylvester(3, FEATURES, kind="orthogonal", vectors=8)
    assert part(torch.zeros(2, FEATURES)).maps[0].q.shape == (2, 3, 3)


def test_naming_the_part_imports_no_torch():
    code = "import sys, vaeflow_sylvester.hooks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
