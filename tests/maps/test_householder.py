"""Reflections against their matrices and Pyro."""

import pytest
import torch
from pyro.distributions import transforms as pyro_transforms
from torch.autograd import gradcheck

from vaeflow.maps.householder import Reflections

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def matrix(v):
    """Return H_T … H_1 (L, L) for v (T, L), by the definition of a reflection."""
    eye = torch.eye(v.shape[-1], dtype=v.dtype)
    product = eye
    for row in v:
        product = (eye - 2 * torch.outer(row, row) / row.dot(row)) @ product
    return product


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_map_is_the_product_of_reflection_matrices(latent, steps):
    v, z0 = noise(3, steps, latent), noise(5, 3, latent, seed=1)
    z, log_det = Reflections(v)(z0)
    for i in range(3):
        q = matrix(v[i])
        torch.testing.assert_close(z[:, i], z0[:, i] @ q.T, **TOLERANCE)
        assert torch.linalg.det(q).item() == pytest.approx((-1) ** steps)
    assert torch.equal(log_det, torch.zeros(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("latent", [3, 5])
def test_map_equals_pyros(latent):
    v, z0 = noise(1, 3, latent), noise(7, 1, latent, seed=1)
    f = pyro_transforms.Householder(latent, count_transforms=3).double()
    f.u_unnormed.data.copy_(v[0])
    z, log_det = Reflections(v)(z0)
    y = f(z0)
    torch.testing.assert_close(z, y.detach(), **TOLERANCE)
    expected = f.log_abs_det_jacobian(z0, y).expand(7, 1).to(log_det)
    torch.testing.assert_close(log_det, expected, **TOLERANCE)


@pytest.mark.parametrize("length", [1e-30, 1e-6, 1e30])
def test_length_of_a_vector_has_no_effect(length):
    v, z0 = noise(3, 4, 5).float(), noise(3, 5).float()
    expected, _ = Reflections(v)(z0)
    torch.testing.assert_close(Reflections(length * v)(z0)[0], expected, rtol=0, atol=1e-5)


def test_zero_vector_is_the_identity_with_finite_gradients():
    v = noise(3, 2, 5)
    v[:, 0] = 0
    z0, leaf = noise(3, 5), v.requires_grad_()
    z, _ = Reflections(leaf)(z0)
    torch.testing.assert_close(z, Reflections(v[:, 1:])(z0)[0], **TOLERANCE)
    (grad,) = torch.autograd.grad(z.sum(), leaf)
    assert grad.isfinite().all()


def test_long_chain_keeps_the_length_of_z_in_float32():
    z0 = noise(8, 16).float()
    z, _ = Reflections(noise(8, 200, 16, seed=1).float())(z0)
    torch.testing.assert_close(z.norm(dim=-1), z0.norm(dim=-1), rtol=1e-4, atol=0)


def test_map_passes_gradcheck():
    v, z = noise(2, 3, 3).requires_grad_(), noise(4, 2, 3).requires_grad_()
    assert gradcheck(lambda v, z: Reflections(v)(z)[0], (v, z))


def test_inverse_undoes_the_map():
    maps, z0 = Reflections(noise(3, 5, 4)), noise(2, 3, 4)
    torch.testing.assert_close(maps.inverse(maps(z0)[0])[0], z0, **TOLERANCE)
