"""The full-covariance Gaussian posterior against torch's MultivariateNormal and closed forms."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import MultivariateNormal, kl_divergence

from vaeflow.distributions.draw import draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.parts.posteriors.full_gaussian import CholeskyNormal, FullGaussian

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(latent, *, scale=0.7):
    torch.manual_seed(latent)
    posterior = FullGaussian(latent, FEATURES).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_(std=scale)
    return posterior


def oracle(posterior, h):
    """Return torch's MultivariateNormal, its factor T filled number by number."""
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    size, images = posterior.latent, len(h)
    lower = torch.eye(size, dtype=torch.float64).repeat(images, 1, 1)
    if size > 1:
        flat = h / FEATURES**0.5 @ posterior.lower.weight.T + posterior.lower.bias
        for b in range(images):
            numbers = iter(flat[b])
            for i in range(size):
                for j in range(i):
                    lower[b, i, j] = next(numbers)
    factor = torch.diag_embed((log_variance / 2).exp()) @ lower
    return MultivariateNormal(mean, covariance_matrix=factor @ factor.mT), factor


@pytest.mark.parametrize("latent", [1, 2, 5, 9])
def test_draws_and_densities_equal_torchs(latent):
    posterior, h = scattered(latent), noise(3, FEATURES)
    q = posterior(h)
    expected, factor = oracle(posterior, h)
    torch.manual_seed(1)
    sample = draw(q, (2, 5))
    torch.manual_seed(1)
    eps = torch.randn(2, 5, 3, latent, dtype=torch.float64)
    z = expected.mean + (factor @ eps[..., None])[..., 0]
    torch.testing.assert_close(sample.z, z, **TOLERANCE)
    torch.testing.assert_close(sample.log_prob, expected.log_prob(z), rtol=1e-9, atol=1e-8)
    assert torch.equal(sample.log_det, torch.zeros(2, 5, 3, dtype=torch.float64))
    torch.testing.assert_close(q.covariance_matrix, expected.covariance_matrix, **TOLERANCE)
    if latent > 1:
        off = q.covariance_matrix - torch.diag_embed(q.variance)
        assert off.abs().max() > 0.1


@pytest.mark.parametrize("latent", [1, 3])
def test_any_z_is_scored_and_the_entropy_is_torchs(latent):
    posterior, h = scattered(latent), noise(3, FEATURES)
    q, (expected, _) = posterior(h), oracle(posterior, h)
    z = 3 * noise(7, 3, latent)
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(z), rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(q.entropy(), expected.entropy(), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("latent", [1, 2, 5])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one prior", "a prior for each image"])
def test_kl_equals_torchs(latent, batch):
    posterior, h = scattered(latent), noise(3, FEATURES)
    p = DiagonalNormal(noise(*batch, latent, seed=5), noise(*batch, latent, seed=6))
    same = MultivariateNormal(p.loc, covariance_matrix=torch.diag_embed(p.variance))
    expected = kl_divergence(oracle(posterior, h)[0], same)
    assert expected.shape == (3,)
    torch.testing.assert_close(kl_divergence(posterior(h), p), expected, rtol=1e-9, atol=1e-8)


def test_kl_to_itself_is_zero():
    loc, log_scale = noise(4, 3), noise(4, 3, seed=1)
    q = CholeskyNormal(loc, log_scale, torch.zeros(4, 3, 3, dtype=torch.float64))
    kl = kl_divergence(q, DiagonalNormal(loc, 2 * log_scale))
    torch.testing.assert_close(kl, torch.zeros(4, dtype=torch.float64), **TOLERANCE)


def test_start_is_the_diagonal_gaussian():
    torch.manual_seed(0)
    posterior = FullGaussian(3, FEATURES).double()
    h, z = noise(2, FEATURES), noise(5, 2, 3)
    expected = posterior.head(h)
    torch.testing.assert_close(posterior(h).log_prob(z), expected.log_prob(z), **TOLERANCE)


def test_draws_and_kl_pass_gradcheck():
    posterior, p = scattered(3), DiagonalNormal(noise(3, seed=5), noise(3, seed=6))
    h, z = noise(2, FEATURES).requires_grad_(), noise(2, 2, 3, seed=7)

    def outputs(h, *_):
        torch.manual_seed(1)
        q = posterior(h)
        sample = draw(q, (2,))
        return sample.z, sample.log_prob, q.log_prob(z), kl_divergence(q, p)

    assert gradcheck(outputs, (h, *posterior.parameters()))


def test_density_is_finite_where_the_scale_underflows():
    tiny = torch.full((1, 2), -200.0)  # e^-200 is 0 in float32
    q = CholeskyNormal(torch.zeros(1, 2), tiny, torch.zeros(1, 2, 2))
    sample = draw(q, (3,))
    assert sample.log_prob.isfinite().all()
    assert (sample.log_prob > 380).all()


def test_expanding_repeats_the_law():
    q = scattered(3)(noise(1, FEATURES)).expand((4, 2))
    assert (q.batch_shape, q.event_shape) == ((4, 2), (3,))
    sample = draw(q, (5,))
    assert sample.z.shape == (5, 4, 2, 3)
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, **TOLERANCE)


def test_densities_are_float32_under_autocast():
    posterior = scattered(3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = posterior(torch.ones(2, FEATURES))
        sample = draw(q, (5,))
    assert sample.z.dtype == sample.log_prob.dtype == torch.float32
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, rtol=0, atol=1e-4)
