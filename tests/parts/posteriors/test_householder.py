"""The Householder flow against Pyro's transform, reflection matrices and torch's Gaussians."""

import pytest
import torch
from pyro.distributions import transforms as pyro_transforms
from torch.autograd import gradcheck
from torch.distributions import MultivariateNormal

from vaeflow.distributions.draw import draw
from vaeflow.maps.householder import Reflections
from vaeflow.parts.posteriors.householder import Householder

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


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


def scattered(latent, **options):
    torch.manual_seed(latent)
    posterior = Householder(latent, FEATURES, **options).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_(std=0.7)
    return posterior


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_map_is_the_product_of_the_reflection_matrices(latent, steps):
    v, z0 = noise(3, steps, latent), noise(5, 3, latent, seed=1)
    z, log_det = Reflections(v)(z0)
    for i in range(3):
        q = matrix(v[i])
        torch.testing.assert_close(z[:, i], z0[:, i] @ q.T, **TOLERANCE)
        assert torch.linalg.det(q).item() == pytest.approx((-1) ** steps)
    assert torch.equal(log_det, torch.zeros(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("latent", [3, 5])
def test_copied_vectors_give_pyros_householder_flow(latent):
    v, z0 = noise(1, 3, latent), noise(7, 1, latent, seed=1)
    f = pyro_transforms.Householder(latent, count_transforms=3).double()
    f.u_unnormed.data.copy_(v[0])
    z, log_det = Reflections(v)(z0)
    y = f(z0)
    torch.testing.assert_close(z, y.detach(), **TOLERANCE)
    expected = f.log_abs_det_jacobian(z0, y).expand(7, 1).to(log_det)
    torch.testing.assert_close(log_det, expected, **TOLERANCE)


@pytest.mark.parametrize("amortize", ["full", "none"])
@pytest.mark.parametrize("latent", [1, 3, 6])
def test_the_law_is_the_gaussian_of_the_turned_covariance(latent, amortize):
    posterior = scattered(latent, steps=5, amortize=amortize)
    h = noise(3, FEATURES)
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    flat = posterior.flow.bias.expand(3, -1)
    if amortize == "full":
        flat = flat + h / FEATURES**0.5 @ posterior.flow.weight.T
    q = posterior(h)
    sample = draw(q, (7,))
    for i in range(3):
        turn = matrix(flat[i].view(5, latent))
        covariance = turn @ log_variance[i].exp().diag() @ turn.T
        covariance = 0.5 * (covariance + covariance.T)
        expected = MultivariateNormal(turn @ mean[i], covariance).log_prob(sample.z[:, i])
        torch.testing.assert_close(sample.log_prob[:, i], expected, rtol=1e-9, atol=1e-9)
        if latent > 1:
            assert (covariance - covariance.diagonal().diag()).abs().max() > 0.05
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, **TOLERANCE)


def test_vectors_are_shared_only_where_asked():
    h = noise(6, FEATURES)
    shared = scattered(3, amortize="none")
    assert shared.flow.weight is None
    (one,) = shared(h).maps
    assert all(torch.equal(v, v[:1].expand(6, 3)) for v in one.v)
    (own,) = scattered(3)(h).maps
    assert all((v.std(0) > 1e-3).all() for v in own.v)


@pytest.mark.parametrize("steps", [0, 2, 10])
def test_an_even_number_of_steps_starts_as_the_diagonal_gaussian(steps):
    torch.manual_seed(0)
    posterior = Householder(3, FEATURES, steps=steps).double()
    h = noise(4, FEATURES)
    torch.manual_seed(1)
    sample = draw(posterior(h), (5,))
    torch.manual_seed(1)
    expected = draw(posterior.head(h), (5,))
    torch.testing.assert_close(sample.z, expected.z, **TOLERANCE)
    torch.testing.assert_close(sample.log_prob, expected.log_prob, **TOLERANCE)


def test_the_equal_pairs_of_the_start_part():
    torch.manual_seed(0)
    posterior = Householder(3, FEATURES, steps=4).double()
    h, target = noise(4, FEATURES), noise(4, 3, seed=3)
    (maps,) = posterior(h).maps
    z, _ = maps(noise(4, 3))
    (z - target).square().sum().backward()
    first, second = posterior.flow.bias.grad.view(4, 3)[:2]
    assert first.norm() > 1e-3
    torch.testing.assert_close(first, -second, **TOLERANCE)  # away from each other


@pytest.mark.parametrize("length", [1e-30, 1e-6, 1e30])
def test_the_length_of_a_vector_is_of_no_effect(length):
    v, z0 = noise(3, 4, 5).float(), noise(3, 5).float()
    expected, _ = Reflections(v)(z0)
    torch.testing.assert_close(Reflections(length * v)(z0)[0], expected, rtol=0, atol=1e-5)


def test_a_vector_of_length_zero_leaves_z_and_finite_gradients():
    v = noise(3, 2, 5)
    v[:, 0] = 0
    z0, leaf = noise(3, 5), v.requires_grad_()
    z, _ = Reflections(leaf)(z0)
    torch.testing.assert_close(z, Reflections(v[:, 1:])(z0)[0], **TOLERANCE)
    (grad,) = torch.autograd.grad(z.sum(), leaf)
    assert grad.isfinite().all()


def test_a_long_chain_in_float32_keeps_the_length_of_z():
    z0 = noise(8, 16).float()
    z, _ = Reflections(noise(8, 200, 16, seed=1).float())(z0)
    torch.testing.assert_close(z.norm(dim=-1), z0.norm(dim=-1), rtol=1e-4, atol=0)


def test_z_passes_gradcheck_in_z_and_the_vectors():
    v, z = noise(2, 3, 3).requires_grad_(), noise(4, 2, 3).requires_grad_()
    assert gradcheck(lambda v, z: Reflections(v)(z)[0], (v, z))


def test_the_inverse_undoes_the_map():
    maps, z0 = Reflections(noise(3, 5, 4)), noise(2, 3, 4)
    torch.testing.assert_close(maps.inverse(maps(z0)[0])[0], z0, **TOLERANCE)


def test_the_flow_is_scored_in_float32_under_autocast():
    posterior = Householder(3, FEATURES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = draw(posterior(torch.ones(2, FEATURES)), (5,))
    assert sample.z.dtype == sample.log_base.dtype == sample.log_det.dtype == torch.float32
