"""The neural spline posterior: its draws, its density anywhere, and its fit of a Gaussian."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import MultivariateNormal

from vaeflow.distributions.draw import draw
from vaeflow.parts.posteriors.spline import Spline

FEATURES = 4


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(latent, *, std=0.7, **options):
    torch.manual_seed(latent)
    posterior = Spline(latent, FEATURES, width=16, **options).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_(std=std)
    return posterior


def test_a_draw_is_the_noise_bent_by_the_maps_and_then_scaled():
    posterior, h = scattered(3), noise(2, FEATURES)
    torch.manual_seed(1)
    sample = draw(posterior(h), (5,))
    torch.manual_seed(1)
    u = torch.randn(5, 2, 3, dtype=torch.float64)
    log_q = -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)
    for f in posterior.flow(h):
        u, log_det = f(u)
        log_q = log_q - log_det
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    torch.testing.assert_close(sample.z, mean + (log_variance / 2).exp() * u)
    torch.testing.assert_close(sample.log_prob, log_q - log_variance.sum(-1) / 2)


@pytest.mark.parametrize("form", ["coupling", "autoregressive"])
@pytest.mark.parametrize("amortize", ["context", "none"])
def test_any_z_can_be_scored_and_the_density_integrates_to_one(amortize, form):
    q = scattered(2, std=0.3, steps=2, amortize=amortize, form=form)(noise(1, FEATURES))
    t = torch.linspace(-10, 10, 251, dtype=torch.float64)
    density = q.log_prob(torch.cartesian_prod(t, t)[:, None]).exp()
    assert density.sum().item() * (t[1] - t[0]).item() ** 2 == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("form", ["coupling", "autoregressive"])
def test_the_score_of_any_z_passes_gradcheck_in_z_and_every_parameter(form):
    posterior, h = scattered(3, steps=2, form=form), noise(2, FEATURES)
    z = (2 * noise(4, 2, 3)).requires_grad_()
    weights = list(posterior.parameters())
    assert gradcheck(lambda z, *_: posterior(h).log_prob(z), (z, *weights), fast_mode=True)


def test_noise_beyond_the_box_stays_where_it_is():
    maps = scattered(2, bound=1.5).flow(noise(1, FEATURES))
    u = noise(50, 1, 2).sign() * (1.5 + noise(50, 1, 2, seed=1).abs())
    for f in maps:
        assert torch.equal(f(u)[0], u)


def test_maps_are_shared_only_where_asked():
    z = noise(1, 3).expand(6, 3)
    for amortize, shared in (("none", True), ("context", False)):
        y, _ = scattered(3, amortize=amortize).flow(noise(6, FEATURES))[0](z)
        assert torch.allclose(y, y[:1].expand(6, 3)) == shared


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_it_starts_as_the_diagonal_gaussian(latent):
    posterior, h = Spline(latent, FEATURES).double(), noise(2, FEATURES)
    sample = draw(posterior(h), (5,))
    base = posterior.head(h)
    torch.testing.assert_close(sample.log_prob, base.log_prob(sample.z))
    torch.testing.assert_close(sample.log_det, torch.zeros(5, 2).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["coupling", "autoregressive"])
def test_it_fits_a_gaussian_of_correlation_nine_tenths_to_a_hundredth_of_a_nat(form):
    """Its best diagonal Gaussian is off by −½ log(1 − 0.9²) = 0.830 nats."""
    torch.manual_seed(0)
    assert fitted_kl(Spline(2, 1, form=form), 300 if form == "coupling" else 600) < 0.01


def fitted_kl(posterior, steps=300):
    """Return KL(q‖p) in nats, on fresh samples, after a few hundred steps of Adam."""
    p = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    optimizer = torch.optim.Adam(posterior.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def kl(n):
        sample = draw(posterior(torch.ones(1, posterior.features)), (n,))
        return (sample.log_prob - p.log_prob(sample.z)).mean()

    for _ in range(steps):
        optimizer.zero_grad()
        kl(256).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return kl(50_000).item()
