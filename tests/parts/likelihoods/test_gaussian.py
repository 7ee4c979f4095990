"""The Gaussian likelihood against quadrature and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from vaeflow.parts.likelihoods.gaussian import Gaussian

SHAPE = (1, 2, 3)
TOLERANCE = {"rtol": 0, "atol": 1e-12}
# Floors below every start, and starts from narrow to the width of data in 0 … 255.
SIGMAS = [0.05, 0.3, 1.0, 10.0, 150.0]


def closed_form(x, mean, sigma):
    """Σ log N(x; mean, σ²) over the data's dimensions."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    z = (x - mean) / sigma
    return (-0.5 * z**2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)).sum((-3, -2, -1))


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("link", ["identity", "sigmoid"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_fixed_scale_is_the_closed_form(sigma, link):
    output, x = 2 * randn(5, 4, *SHAPE), randn(4, *SHAPE, seed=1)
    likelihood = Gaussian(SHAPE, sigma=sigma, link=link)
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    mean = 1 / (1 + torch.exp(-output)) if link == "sigmoid" else output
    expected = closed_form(x, mean, sigma)
    torch.testing.assert_close(p.log_prob(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"scale": "shared"}, {"scale": "pixel"}], ids=str)
def test_density_integrates_to_one(options):
    likelihood = Gaussian((1, 1, 1), sigma=0.7, **options).double()
    output = randn(*likelihood.output_shape)
    p = likelihood(output)
    # The trapezoid rule converges exponentially; 20 σ either side leave e^-200.
    step, span = 0.05, 20
    sigma = p.base_dist.scale.item()
    ticks = torch.arange(-span, span + step, step, dtype=torch.float64) * sigma
    x = p.base_dist.loc + ticks.view(-1, 1, 1, 1)
    total = p.log_prob(x).exp().sum() * step * sigma
    torch.testing.assert_close(total, torch.ones_like(total), **TOLERANCE)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_log_peak_is_the_score_at_the_mean(sigma):
    likelihood = Gaussian(SHAPE, sigma=sigma)
    x = randn(*SHAPE)
    peak = likelihood(x).log_prob(x).item()
    assert likelihood.log_peak == pytest.approx(peak, rel=1e-12)
    assert (likelihood(x + sigma * randn(100, *SHAPE)).log_prob(x) < likelihood.log_peak).all()


def test_log_peak_minus_score_is_the_squared_error():
    likelihood = Gaussian(SHAPE, sigma=0.5)
    x, output = randn(*SHAPE), randn(*SHAPE, seed=1)
    loss = likelihood.log_peak - likelihood(output).log_prob(x)
    torch.testing.assert_close(loss, ((x - output) ** 2).sum() / (2 * 0.25), **TOLERANCE)


@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_learned_scale_has_no_known_peak(scale):
    assert Gaussian(SHAPE, scale=scale, sigma=0.1).log_peak == 0


@pytest.mark.parametrize("scale", ["shared", "pixel"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_learned_scale_starts_at_sigma(scale, sigma):
    likelihood = Gaussian(SHAPE, scale=scale, sigma=sigma)
    p = likelihood(torch.zeros(4, *likelihood.output_shape))
    expected = torch.full((4, *SHAPE), sigma)
    torch.testing.assert_close(p.base_dist.scale.expand(4, *SHAPE), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_start_below_the_floor_is_the_floor(scale):
    likelihood = Gaussian(SHAPE, scale=scale, sigma=0.01, floor=0.1)
    p = likelihood(torch.zeros(4, *likelihood.output_shape))
    assert p.base_dist.scale.min().item() == pytest.approx(0.1, rel=1e-4)


def test_shared_scale_stays_above_the_floor():
    likelihood = Gaussian(SHAPE, scale="shared", floor=0.03)
    with torch.no_grad():
        likelihood.raw.fill_(-1000.0)
    assert likelihood(torch.zeros(SHAPE)).base_dist.scale.min().item() == pytest.approx(0.03)


def test_pixel_scale_stays_above_the_floor():
    likelihood = Gaussian(SHAPE, scale="pixel", floor=0.03)
    output = torch.full((2, *SHAPE), -1000.0)
    assert likelihood(output).base_dist.scale.min().item() == pytest.approx(0.03)


def test_shared_scale_learns_the_spread_of_the_data():
    likelihood = Gaussian(SHAPE, scale="shared", sigma=1.0).double()
    x = 0.2 * randn(500, *SHAPE)
    raw = likelihood.raw
    likelihood(torch.zeros_like(x)).log_prob(x).mean().backward()
    sigma = F.softplus(raw.detach()) + likelihood.floor
    # d/dσ log N = Σ (x²/σ³ − 1/σ), and dσ/draw = sigmoid(raw)
    d_sigma = ((x**2 / sigma**3) - 1 / sigma).sum((-3, -2, -1)).mean()
    torch.testing.assert_close(raw.grad, d_sigma * torch.sigmoid(raw.detach()), **TOLERANCE)
    assert raw.grad < 0  # towards 0.2, from 1


@pytest.mark.parametrize("link", ["identity", "sigmoid"])
def test_pixel_scale_is_the_second_channel(link):
    likelihood = Gaussian(SHAPE, scale="pixel", sigma=0.5, floor=0.1, link=link)
    assert likelihood.output_shape == (2, *SHAPE)
    output, x = randn(5, 4, 2, *SHAPE), randn(4, *SHAPE, seed=1)
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    mean, raw = output[:, :, 0], output[:, :, 1]
    # softplus(raw + start) + floor = sigma at raw = 0
    sigma = torch.log1p(torch.exp(raw + math.log(math.expm1(0.5 - 0.1)))) + 0.1
    mean = torch.sigmoid(mean) if link == "sigmoid" else mean
    torch.testing.assert_close(p.log_prob(x), closed_form(x, mean, sigma), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", ["fixed", "shared"])
def test_one_scale_needs_no_second_channel(scale):
    assert Gaussian(SHAPE, scale=scale).output_shape == SHAPE


# The optimal scale


def train(likelihood, output, x):
    """Score x as a training step does, and let the likelihood observe it."""
    p = likelihood(output)
    score = p.log_prob(x)
    likelihood.observe(p, x)
    return score


def test_scoring_a_batch_changes_no_state():
    likelihood = Gaussian(SHAPE, scale="optimal")
    before = {name: value.clone() for name, value in likelihood.state_dict().items()}
    likelihood(torch.zeros(4, *SHAPE)).log_prob(torch.ones(4, *SHAPE))
    assert likelihood.state_dict() == before


def test_optimal_scale_is_the_root_mean_squared_error():
    likelihood = Gaussian(SHAPE, scale="optimal").double()
    output, x = randn(5, 4, *SHAPE), 3 * randn(4, *SHAPE, seed=1)
    sigma = (x - output).square().mean().sqrt()
    seen = likelihood(output).log_prob(x)
    torch.testing.assert_close(seen, closed_form(x, output, sigma), rtol=1e-12, atol=1e-12)
    # No other σ scores the batch higher.
    for other in (0.9 * sigma, 1.1 * sigma):
        assert closed_form(x, output, other).sum() < seen.sum()


def test_gradient_of_the_optimal_scale():
    output, x = randn(4, *SHAPE).requires_grad_(), randn(4, *SHAPE, seed=1)
    Gaussian(SHAPE, scale="optimal").double()(output).log_prob(x).sum().backward()
    sigma2 = (x - output).square().mean().detach()
    torch.testing.assert_close(output.grad, (x - output).detach() / sigma2, **TOLERANCE)


def test_evaluation_takes_the_mean_of_training_batches():
    likelihood = Gaussian(SHAPE, scale="optimal").double()
    errors = []
    for seed in range(7):
        x = (1 + seed) * randn(4, *SHAPE, seed=seed)
        train(likelihood, torch.zeros_like(x), x)
        errors.append(x.square().mean())
    likelihood.eval()
    sigma = torch.stack(errors).mean().sqrt()
    x, output = randn(4, *SHAPE), randn(4, *SHAPE, seed=1)
    for _ in range(2):
        p = likelihood(output)
        expected = closed_form(x, output, sigma)
        torch.testing.assert_close(p.log_prob(x), expected, rtol=1e-12, atol=1e-12)
    again = Gaussian(SHAPE, scale="optimal").double()
    again.load_state_dict(likelihood.state_dict())
    torch.testing.assert_close(again.eval()(output).log_prob(x), expected)


def test_running_scale_follows_the_last_hundred_batches():
    likelihood = Gaussian((1,), scale="optimal")
    for size in (10.0, 1.0):
        for _ in range(700):
            train(likelihood, torch.zeros(1, 1), torch.full((1, 1), size))
    # 700 batches of 0.99 leave e^-7 of the old 100.
    assert likelihood.variance.item() == pytest.approx(1 + 99 * 0.99**700, rel=1e-3)


def test_optimal_scale_stays_above_the_floor():
    likelihood = Gaussian(SHAPE, scale="optimal", floor=0.1)
    x = torch.zeros(4, *SHAPE)
    assert torch.isfinite(train(likelihood, x, x)).all()
    assert likelihood.variance.sqrt().item() == pytest.approx(0.1)
