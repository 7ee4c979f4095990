"""The flow prior: its density against its draws and the Jacobian, its start, and its fit."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from vaeflow.distributions.draw import draw
from vaeflow.parts.priors.flow import FlowPrior

SHAPE = (1, 4, 4)
forms = pytest.mark.parametrize("form", ["coupling", "autoregressive"])
transforms = pytest.mark.parametrize("transform", ["affine", "spline"])


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(latent, **options):
    torch.manual_seed(latent)
    prior = FlowPrior(latent, SHAPE, width=16, **options).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.normal_(std=0.5)
    return prior


@transforms
@forms
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_it_starts_as_the_standard_normal(latent, form, transform):
    p = FlowPrior(latent, SHAPE, form=form, transform=transform).double()(None)
    z = 2 * noise(7, 4, latent)
    expected = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    assert (p.batch_shape, p.event_shape) == ((), (latent,))
    torch.testing.assert_close(p.log_prob(z), expected, rtol=0, atol=1e-11)


@transforms
@forms
@pytest.mark.parametrize("latent", [1, 2, 4])
def test_density_is_noise_over_jacobian(latent, form, transform):
    prior = scattered(latent, form=form, transform=transform)
    p, z = prior(None), noise(latent, seed=3)

    def to_noise(z):
        u = (z - prior.loc) * torch.exp(-prior.log_variance / 2)
        for g in prior.flow():
            u, _ = g(u)
        return u

    log_det = torch.linalg.slogdet(jacobian(to_noise, z)).logabsdet
    expected = -0.5 * (to_noise(z).square() + math.log(2 * math.pi)).sum() + log_det
    torch.testing.assert_close(p.log_prob(z), expected, rtol=0, atol=1e-9)


@transforms
@forms
def test_draws_have_their_density(form, transform):
    sample = draw(p := scattered(3, form=form, transform=transform)(None), (50,))
    torch.testing.assert_close(sample.log_prob, p.log_prob(sample.z), rtol=0, atol=1e-7)


@pytest.mark.parametrize("form", ["coupling", "autoregressive"])
def test_density_takes_one_pass_of_each_network(form):
    prior, passes = scattered(4, form=form, steps=3), []
    for layer in prior.flow.layers:
        layer.net.register_forward_hook(lambda *_: passes.append(1))
    prior(None).log_prob(noise(5, 2, 4))
    assert len(passes) == 3
    prior(None).sample()
    assert len(passes) == 3 + 3 * (4 if form == "autoregressive" else 1)


@transforms
@forms
def test_log_prob_passes_gradcheck(form, transform):
    prior = scattered(3, form=form, transform=transform, steps=2)
    inputs = (noise(4, 3).requires_grad_(), *prior.parameters())
    assert gradcheck(lambda z, *_: prior(None).log_prob(z), inputs, fast_mode=True)


@transforms
@forms
def test_fit_of_a_correlated_gaussian(form, transform):
    target = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    torch.manual_seed(0)
    prior = FlowPrior(2, SHAPE, form=form, transform=transform, width=64)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)

    def kl(n):
        z = target.sample((n,))
        return (target.log_prob(z) - prior(None).log_prob(z)).mean()

    for _ in range(300):
        optimizer.zero_grad()
        kl(256).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        assert kl(50_000).item() < 0.02
