"""The diagonal Gaussian posterior against closed forms."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from vaeflow.distributions.draw import draw
from vaeflow.distributions.flow import Flow
from vaeflow.parts.posteriors.identity import Identity

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def head_and_posterior(latent=3, features=4, images=5):
    torch.manual_seed(0)
    posterior = Identity(latent, features).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.mul_(3)
    h = torch.randn(images, features, dtype=torch.float64)
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).split(latent, -1)
    return mean, log_variance, posterior(h)


def test_head_emits_mean_and_log_variance():
    mean, log_variance, q = head_and_posterior()
    assert (q.batch_shape, q.event_shape) == ((5,), (3,))
    z = torch.randn(7, 5, 3, dtype=torch.float64)
    expected = -0.5 * ((z - mean) ** 2 / log_variance.exp() + log_variance)
    expected = (expected - 0.5 * math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(q.log_prob(z), expected, **TOLERANCE)


def test_draw_is_scaled_and_shifted_noise():
    mean, log_variance, q = head_and_posterior()
    torch.manual_seed(1)
    sample = draw(q, (7,))
    torch.manual_seed(1)
    eps = torch.randn(7, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(sample.z, mean + (log_variance / 2).exp() * eps, **TOLERANCE)
    torch.testing.assert_close(sample.log_prob, q.log_prob(sample.z), **TOLERANCE)
    assert torch.equal(sample.log_det, torch.zeros(7, 5, dtype=torch.float64))


def test_kl_to_the_standard_normal():
    mean, log_variance, q = head_and_posterior()
    prior = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    # Kingma & Welling 2014, appendix B, with the sign of a divergence
    expected = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
    torch.testing.assert_close(kl_divergence(q, prior), expected, **TOLERANCE)


def test_no_flow_is_the_flow_of_no_maps():
    _, _, q = head_and_posterior()
    torch.manual_seed(1)
    sample = draw(q, (7,))
    torch.manual_seed(1)
    flow = draw(Flow(q, []), (7,))
    assert torch.equal(sample.z, flow.z)
    assert torch.equal(sample.log_prob, flow.log_prob)


@pytest.mark.parametrize(
    ("init", "bound", "bias"),
    [
        ("glorot", math.sqrt(6 / (400 + 20)), 0.0),
        ("truncated-normal", 0.2, 0.1),
    ],
)
def test_heads_weights_are_drawn_as_asked(init, bound, bias):
    torch.manual_seed(0)
    head = Identity(10, 400, init=init).head
    assert (head.bias == bias).all()
    largest = head.weight.abs().max().item()
    assert 0.95 * bound < largest <= bound


def test_densities_are_float32_under_autocast():
    posterior = Identity(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = draw(posterior(torch.ones(2, 4)), (5,))
    assert sample.log_prob.dtype == torch.float32
