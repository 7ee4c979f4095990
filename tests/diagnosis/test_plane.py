"""The posterior on a grid, against one that is known."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaeflow.diagnosis.plane import windows
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal as Prior

SIDE = 80


@pytest.fixture(scope="module")
def world():
    """A linear-Gaussian model of two latent dimensions, two images and their posterior."""
    torch.manual_seed(0)
    decoder = Decoder(2, (3,), hidden=())
    encoder = Encoder((3,), hidden=(4,))
    model = VAE(encoder, Identity(2, 4), Prior(2, (3,)), decoder, Gaussian((3,), sigma=0.4))
    model.double()
    w, c = (p.detach() for p in decoder.parameters())
    w *= 2
    x = torch.tensor([[1.0, -0.5, 2.0], [-2.0, 0.0, 0.5]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    covariance = torch.linalg.inv(eye[:2, :2] + w.T @ w / 0.16)
    posterior = MultivariateNormal((x - c) @ w @ covariance / 0.16, covariance)
    return model, x, posterior, MultivariateNormal(c, w @ w.T + 0.16 * eye).log_prob(x)


class Push:
    """z -> z + 1, without an inverse."""

    def __call__(self, z):
        return z + 1, torch.zeros_like(z[..., 0])


@pytest.fixture(scope="module")
def found(world):
    model, x, posterior, _ = world
    q = Independent(Normal(posterior.mean + 0.1, torch.full((2, 2), 0.3).double()), 1)
    zero = torch.zeros(2, 2, dtype=torch.float64)
    blind = Flow(DiagonalNormal(zero, zero), [Push()])
    qs = {"exact": posterior, "aside": q, "blind": blind}
    return windows(model, x, qs, side=SIDE, draws=4000), q


def test_the_posterior_is_the_known_one(world, found):
    _, _, posterior, log_px = world
    for i, window in enumerate(found[0]):
        first, second = torch.meshgrid(window.first, window.second, indexing="xy")
        z = torch.stack((first, second), -1)
        one = MultivariateNormal(posterior.mean[i], posterior.covariance_matrix[i % 1])
        assert window.log_px == pytest.approx(log_px[i].item(), abs=2e-3)
        torch.testing.assert_close(window.log_posterior, one.log_prob(z), atol=2e-3, rtol=0)
        torch.testing.assert_close(window.log_q["exact"], one.log_prob(z))


def test_a_window_is_square_and_holds_posterior_and_draws(found):
    for window in found[0]:
        assert window.first.diff()[0] == pytest.approx(window.second.diff()[0].item())
        for name, z in window.draws.items():
            assert z.shape == (4000, 2)
            held = (z[:, 0] > window.first[0]) & (z[:, 0] < window.first[-1])
            held &= (z[:, 1] > window.second[0]) & (z[:, 1] < window.second[-1])
            assert held.double().mean() > 0.99, name


def test_the_divergence_is_the_known_one(world, found):
    _, _, posterior, _ = world
    windows_, q = found
    aside = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    expected = kl_divergence(aside, posterior)
    assert expected.min() > 0.2
    for window, kl in zip(windows_, expected.tolist(), strict=True):
        assert window.divergence["exact"] == pytest.approx(0, abs=2e-3)
        assert window.divergence["aside"] == pytest.approx(kl, rel=0.1)


def test_a_flow_that_scores_its_draws_alone_has_no_density_on_the_grid(found):
    for window in found[0]:
        assert [*window.log_q] == ["exact", "aside"]
        assert window.divergence["blind"] > 1
        assert window.draws["blind"].mean(0).tolist() == pytest.approx([1, 1], abs=0.1)
