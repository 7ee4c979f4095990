"""Gaussian and Student's t proposals against SciPy, quadrature and their own draws."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch.distributions import MultivariateNormal

from vaeflow.evaluation.proposals import gaussians
from vaeflow.evaluation.proposals.gaussians import Gaussians

SPREAD = gaussians._SPREAD  # the proposal's standard deviations are so many times the fitted ones
FREEDOMS = [math.inf, 10.0, 5.0]


def proposal(components, images, latent, freedom=math.inf, seed=0):
    """Return a random one, far from round and of unequal shares."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return Gaussians(
        center=1.5 * randn(components, images, latent),
        factor=randn(components, images, latent, latent) + 0.5 * torch.eye(latent),
        log_share=randn(components, images).log_softmax(0),
        freedom=freedom,
    )


def scipy_log_density(of, image):
    """Return the log-density of an image's proposal, a function of points (K, L)."""
    laws = []
    for center, factor in zip(of.center[:, image], of.factor[:, image], strict=True):
        scale = (SPREAD**2 * factor @ factor.T).numpy()
        if of.freedom == math.inf:
            laws.append(stats.multivariate_normal(center.numpy(), scale))
        else:
            laws.append(stats.multivariate_t(center.numpy(), scale, df=of.freedom))
    shares = of.log_share[:, image].tolist()
    return lambda z: logsumexp(
        [w + np.atleast_1d(law.logpdf(z)) for w, law in zip(shares, laws, strict=True)], axis=0
    )


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_density_is_that_of_scipy(components, latent, freedom):
    of = proposal(components, 4, latent, freedom)
    z = 3 * torch.randn(
        50, 4, latent, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    found = of.log_prob(z)
    assert found.shape == (50, 4)
    for image in range(4):
        expected = scipy_log_density(of, image)(z[:, image].numpy())
        np.testing.assert_allclose(found[:, image].numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_density_integrates_to_one(freedom):
    axis = torch.linspace(-np.pi / 2, np.pi / 2, 403, dtype=torch.float64)[1:-1]
    place, step = 4 * axis.tan(), (axis[1] - axis[0])  # z = 4 tan u reaches the tails
    volume = (4 * step / axis.cos().square()).log()

    line = proposal(3, 2, 1, freedom)
    found = line.log_prob(place[:, None, None].expand(-1, 2, 1)) + volume[:, None]
    torch.testing.assert_close(found.exp().sum(0), torch.ones(2).double(), rtol=0, atol=2e-3)

    plane = proposal(2, 1, 2, freedom)
    plane = Gaussians(plane.center, plane.factor + torch.eye(2), plane.log_share, freedom)
    z = torch.cartesian_prod(place, place)[:, None]
    found = plane.log_prob(z).view(401, 401) + volume[:, None] + volume
    assert found.exp().sum().item() == pytest.approx(1, abs=2e-3)


def test_one_component_without_heavy_tails_is_torch_s_normal():
    of = proposal(1, 3, 4)
    law = MultivariateNormal(of.center[0], scale_tril=None, covariance_matrix=_covariance(of))
    z = of.draw(20)
    torch.testing.assert_close(of.log_prob(z), law.log_prob(z), rtol=1e-9, atol=1e-9)


def _covariance(of):
    return SPREAD**2 * of.factor[0] @ of.factor[0].mT


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("components", [1, 3])
def test_draws_have_the_moments_of_the_density(components, freedom):
    torch.manual_seed(0)
    of, count = proposal(components, 2, 3, freedom), 40_000
    z = of.draw(count)
    assert z.shape == (count, 2, 3)
    share = of.log_share.exp()[..., None]
    mean = (share * of.center).sum(0)
    wider = 1.0 if freedom == math.inf else freedom / (freedom - 2)
    within = wider * SPREAD**2 * of.factor @ of.factor.mT
    off = of.center - mean
    covariance = (share[..., None] * (within + off[..., None] * off[..., None, :])).sum(0)
    products = torch.einsum("kbi,kbj->kbij", z - mean, z - mean)
    for draws, exact in ((z, mean), (products, covariance)):
        error = draws.std(0) / math.sqrt(count)
        assert ((draws.mean(0) - exact) / error).abs().max() < 4.5


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("components", [1, 3])
def test_draws_follow_the_density(components, freedom):
    """Kolmogorov and Smirnov's test along a random direction, of each image by itself."""
    torch.manual_seed(1)
    of = proposal(components, 2, 2, freedom)
    direction = torch.tensor([0.8, -0.6], dtype=torch.float64)
    along = of.draw(20_000) @ direction
    centers = (of.center @ direction).numpy()
    scales = SPREAD * (of.factor.mT @ direction).norm(dim=-1).numpy()
    shares = of.log_share.exp().numpy()
    law = stats.norm if freedom == math.inf else stats.t(freedom)
    for image in range(2):
        center, scale, share = centers[:, image], scales[:, image], shares[:, image]
        draws = along[:, image].numpy()
        cdf = law.cdf((np.sort(draws)[:, None] - center) / scale) @ share
        assert stats.kstest(cdf, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_coordinates_share_the_chi_square_of_a_draw(freedom):
    """Mahalanobis distances of a t follow L·F(L, ν): one χ² for each draw, not for each axis."""
    torch.manual_seed(2)
    of = proposal(1, 1, 3, freedom)
    z = of.draw(20_000)[:, 0] - of.center[0, 0]
    squares = (torch.linalg.solve(SPREAD * of.factor[0, 0], z.T) ** 2).sum(0).numpy()
    law = stats.chi2(3) if freedom == math.inf else stats.f(3, freedom, scale=3)
    assert stats.kstest(squares, law.cdf).pvalue > 1e-4


def test_weights_of_another_density_average_to_one():
    """E_r[p/r] = 1: draws and density are those of one law."""
    torch.manual_seed(3)
    of = proposal(3, 4, 2, 5.0)
    other = MultivariateNormal(of.center[0], _covariance(of))
    z = of.draw(20_000)
    weight = (other.log_prob(z) - of.log_prob(z)).exp()
    error = weight.std(0) / math.sqrt(len(weight))
    assert ((weight.mean(0) - 1) / error).abs().max() < 4.5


@pytest.mark.parametrize("components", [1, 3])
def test_of_takes_images_by_their_indices(components):
    of = proposal(components, 5, 2, 10.0)
    images = torch.tensor([3, 0, 3])
    some = of.of(images)
    assert some.freedom == of.freedom
    z = torch.randn(7, 3, 2, dtype=torch.float64)
    whole = torch.zeros(7, 5, 2, dtype=torch.float64)
    for place, image in enumerate(images.tolist()):
        whole[:, image] = z[:, place]
        torch.testing.assert_close(some.log_prob(z)[:, place], of.log_prob(whole)[:, image])
    assert some.draw(3).shape == (3, 3, 2)


def test_density_of_a_thin_float32_factor_keeps_its_digits():
    thin = torch.diag_embed(torch.tensor([[1.0, 1e-3, 1e-6]]))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[
        0
    ]
    factor = (turn @ thin[0].double())[None, None].float()
    of = Gaussians(torch.zeros(1, 1, 3), factor, torch.zeros(1, 1))
    z = of.draw(100)
    exact = Gaussians(*(t.double() for t in (of.center, of.factor, of.log_share)))
    torch.testing.assert_close(of.log_prob(z).double(), exact.log_prob(z.double()))
