"""The Householder posterior against Gaussians of full covariance."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaeflow.distributions.draw import draw
from vaeflow.maps.householder import Reflections
from vaeflow.parts.posteriors.householder import Householder

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(latent, **options):
    torch.manual_seed(latent)
    posterior = Householder(latent, FEATURES, **options).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_(std=0.7)
    return posterior


@pytest.mark.parametrize("amortize", ["full", "none"])
@pytest.mark.parametrize("latent", [1, 3, 6])
def test_law_is_a_gaussian_of_turned_covariance(latent, amortize):
    posterior = scattered(latent, steps=5, amortize=amortize)
    h = noise(3, FEATURES)
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    flat = posterior.flow.bias.expand(3, -1)
    if amortize == "full":
        flat = flat + h / FEATURES**0.5 @ posterior.flow.weight.T
    q = posterior(h)
    sample = draw(q, (7,))
    for i in range(3):
        eye = torch.eye(latent, dtype=torch.float64)
        turn = Reflections(flat[i].view(1, 5, latent))(eye[:, None])[0][:, 0].T
        covariance = turn @ log_variance[i].exp().diag() @ turn.T
        covariance = 0.5 * (covariance + covariance.T)
        expected = MultivariateNormal(turn @ mean[i], covariance).log_prob(sample.z[:, i])
        torch.testing.assert_close(sample.log_prob[:, i], expected, rtol=1e-9, atol=1e-9)
        if latent > 1:
            assert (covariance - covariance.diagonal().diag()).abs().max() > 0.05
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, **TOLERANCE)


def test_images_share_vectors_without_amortization():
    h = noise(6, FEATURES)
    shared = scattered(3, amortize="none")
    assert shared.flow.weight is None
    (one,) = shared(h).maps
    assert all(torch.equal(v, v[:1].expand(6, 3)) for v in one.v)
    (own,) = scattered(3)(h).maps
    assert all((v.std(0) > 1e-3).all() for v in own.v)


@pytest.mark.parametrize("steps", [0, 2, 10])
def test_even_steps_start_as_the_diagonal_gaussian(steps):
    torch.manual_seed(0)
    posterior = Householder(3, FEATURES, steps=steps).double()
    h = noise(4, FEATURES)
    torch.manual_seed(1)
    sample = draw(posterior(h), (5,))
    torch.manual_seed(1)
    expected = draw(posterior.head(h), (5,))
    torch.testing.assert_close(sample.z, expected.z, **TOLERANCE)
    torch.testing.assert_close(sample.log_prob, expected.log_prob, **TOLERANCE)


def test_equal_vectors_of_the_start_move_apart():
    torch.manual_seed(0)
    posterior = Householder(3, FEATURES, steps=4).double()
    h, target = noise(4, FEATURES), noise(4, 3, seed=3)
    (maps,) = posterior(h).maps
    z, _ = maps(noise(4, 3))
    (z - target).square().sum().backward()
    first, second = posterior.flow.bias.grad.view(4, 3)[:2]
    assert first.norm() > 1e-3
    torch.testing.assert_close(first, -second, **TOLERANCE)  # away from each other


def test_draws_have_float32_densities_under_autocast():
    posterior = Householder(3, FEATURES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = draw(posterior(torch.ones(2, FEATURES)), (5,))
    assert sample.z.dtype == sample.log_base.dtype == sample.log_det.dtype == torch.float32
