"""Coupling and spline posteriors: their draws, their density anywhere, their fit of a Gaussian."""

import math
from functools import partial

import pytest
import torch
from correlated_gaussian import fitted_kl
from torch.autograd import gradcheck

from vaeflow.distributions.draw import draw
from vaeflow.parts.posteriors.realnvp import RealNVP
from vaeflow.parts.posteriors.spline import Spline

FEATURES = 4
FAMILIES = {
    "realnvp": RealNVP,
    "spline": Spline,
    "autoregressive spline": partial(Spline, form="autoregressive"),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(family, latent, *, std=0.7, **options):
    """Return a posterior of random weights."""
    torch.manual_seed(latent)
    posterior = FAMILIES[family](latent, FEATURES, width=16, **options).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_(std=std)
    return posterior


@every_family
def test_draw_is_noise_through_the_maps_then_scaled(family):
    posterior, h = scattered(family, 3), noise(2, FEATURES)
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


@every_family
@pytest.mark.parametrize("amortize", ["context", "none"])
def test_density_integrates_to_one(amortize, family):
    q = scattered(family, 2, std=0.3, steps=2, amortize=amortize)(noise(1, FEATURES))
    t = torch.linspace(-10, 10, 251, dtype=torch.float64)
    density = q.log_prob(torch.cartesian_prod(t, t)[:, None]).exp()
    tolerance = 1e-3 if family == "realnvp" else 5e-3
    assert density.sum().item() * (t[1] - t[0]).item() ** 2 == pytest.approx(1, abs=tolerance)


@every_family
def test_log_prob_passes_gradcheck(family):
    posterior, h = scattered(family, 3, steps=2), noise(2, FEATURES)
    z = (2 * noise(4, 2, 3)).requires_grad_()
    weights = list(posterior.parameters())
    assert gradcheck(lambda z, *_: posterior(h).log_prob(z), (z, *weights), fast_mode=True)


def test_noise_outside_the_box_is_not_moved():
    maps = scattered("spline", 2, bound=1.5).flow(noise(1, FEATURES))
    u = noise(50, 1, 2).sign() * (1.5 + noise(50, 1, 2, seed=1).abs())
    for f in maps:
        assert torch.equal(f(u)[0], u)


@every_family
def test_images_share_maps_without_context(family):
    z = noise(1, 3).expand(6, 3)
    for amortize, shared in (("none", True), ("context", False)):
        y, _ = scattered(family, 3, amortize=amortize).flow(noise(6, FEATURES))[1](z)
        assert torch.allclose(y, y[:1].expand(6, 3)) == shared


@every_family
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_start_is_the_diagonal_gaussian(latent, family):
    posterior, h = FAMILIES[family](latent, FEATURES).double(), noise(2, FEATURES)
    sample = draw(posterior(h), (5,))
    base = posterior.head(h)
    torch.testing.assert_close(sample.log_prob, base.log_prob(sample.z))
    torch.testing.assert_close(sample.log_det, torch.zeros(5, 2).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["realnvp", "spline"])
def test_weights_have_the_names_of_older_checkpoints(family):
    names = set(FAMILIES[family](3, FEATURES, steps=1, depth=2).state_dict())
    layers = [f"flow.layers.0.net.{x}" for x in ("first", "middle.0", "last")]
    linear = {f"{x}.{y}" for x in ("head", *layers) for y in ("weight", "bias")}
    assert names == {"flow.layers.0.net.context.weight", *linear}


@every_family
def test_fit_of_a_correlated_gaussian(family):
    torch.manual_seed(0)
    steps = 600 if family == "autoregressive spline" else 300
    assert fitted_kl(FAMILIES[family](2, 1), steps) < 0.01
