"""Annealed importance sampling against evidence in closed form and by quadrature."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Poisson, constraints

from vaeflow.diagnosis.annealing import (
    ACCEPTANCE,
    Annealing,
    annealed,
    annealed_backwards,
    schedule,
)
from vaeflow.distributions.mixture import DiagonalNormalMixture
from vaeflow.errors import ConfigError, DataError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Likelihood, Prior
from vaeflow.parts.decoders.mlp import MLP as MLPDecoder
from vaeflow.parts.encoders.mlp import MLP as MLPEncoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.runtime.frozen import frozen

N = 6


def ideal(world, x, temperatures, *, backwards=False):
    """The mean and variance of Σ (β_t − β_{t−1}) log p(x|z_{t−1}) (N,) if every z were exact."""
    betas = schedule(temperatures)
    increments = betas.diff()
    at = betas[1:] if backwards else betas[:-1]
    moments = [world.log_likelihood(x, beta) for beta in at.tolist()]
    means, variances = (torch.stack(part) for part in zip(*moments, strict=True))
    return increments @ means, increments.square() @ variances


def test_the_schedule_goes_from_0_to_1_and_is_dense_at_both_ends():
    betas = schedule(50)
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 51)
    assert betas.diff().min() > 0
    torch.testing.assert_close(betas, 1 - betas.flip(0))
    assert betas.diff()[25] > 5 * betas.diff()[0]


@pytest.mark.parametrize(("temperatures", "chains"), [(40, 1000), (80, 300)])
def test_the_weights_average_to_the_evidence(linear_gaussian, temperatures, chains):
    _, x = linear_gaussian.data(N)
    model = linear_gaussian.model()
    bound = annealed(
        model, x, Annealing(temperatures=temperatures, chains=chains, leapfrog=4, batch=4)
    )
    assert bound.log_weight.shape == (chains, N)
    log_px = bound.log_px
    assert (log_px.errors < 0.25).all()
    assert ((log_px.values - linear_gaussian.log_px(x)).abs() < 4 * log_px.errors).all()


def test_the_weights_spread_as_far_as_their_path_lets_them(linear_gaussian):
    """Exact draws at every β are the best there is; HMC's hang together, but not by much."""
    _, x = linear_gaussian.data(N)
    bound = annealed(linear_gaussian.model(), x, Annealing(temperatures=60, chains=300, leapfrog=4))
    mean, variance = ideal(linear_gaussian, x, 60)
    log_px = linear_gaussian.log_px(x)
    slack = (log_px - bound.log_weight.mean(0)).mean() / (log_px - mean).mean()
    spread = (bound.log_weight.var(0) / variance).mean()
    assert 1 < slack < 6
    assert 1 < spread < 7


def test_half_of_the_moves_or_more_are_accepted(linear_gaussian):
    _, x = linear_gaussian.data(N)
    bound = annealed(linear_gaussian.model(), x, Annealing(temperatures=60, chains=100, leapfrog=4))
    assert bound.acceptance.shape == (N,)
    assert ((bound.acceptance - ACCEPTANCE).abs() < 0.1).all()


def test_backwards_from_the_posterior_the_weights_average_to_one_over_the_evidence(linear_gaussian):
    """One image many times, each with an exact posterior sample of its own."""
    _, x = linear_gaussian.data(1)
    copies = x.expand(600, *linear_gaussian.shape)
    torch.manual_seed(0)
    z = linear_gaussian.posterior(copies).sample()
    options = Annealing(temperatures=60, chains=2, leapfrog=4, batch=600)
    bound = annealed_backwards(linear_gaussian.model(), copies, z, options)
    assert (bound.acceptance.mean() - ACCEPTANCE).abs() < 0.05
    log_px = linear_gaussian.log_px(x)
    # The two chains of a copy share its z: average them before the error is estimated.
    ratio = (bound.log_weight + log_px).exp().mean(0)
    error = ratio.std() / math.sqrt(600)
    assert error < 0.08
    assert (ratio.mean() - 1).abs() < 4 * error
    mean, variance = ideal(linear_gaussian, x, 60, backwards=True)
    slack = (-bound.log_weight.mean() - log_px) / (mean - log_px)
    assert 1 < slack < 6
    assert 1 < bound.log_weight.var() / variance < 7


def test_simulated_data_are_bounded_from_both_sides(linear_gaussian):
    z, x = linear_gaussian.data(300)
    model = linear_gaussian.model()
    options = {"temperatures": 20, "chains": 1, "leapfrog": 4, "batch": 300}
    log_px = linear_gaussian.log_px(x)
    below = log_px - annealed(model, x, Annealing(**options)).log_px.values
    above = annealed_backwards(model, x, z, Annealing(**options)).log_px.values - log_px
    for gap, backwards in ((below, False), (above, True)):
        best = (ideal(linear_gaussian, x, 20, backwards=backwards)[0] - log_px).mean().abs()
        assert gap.mean() > best + 4 * gap.std() / math.sqrt(len(x))
        assert gap.mean() < 8 * best


class Bimodal(Prior):
    """Two Gaussians far from each other."""

    def forward(self, infer):
        loc = torch.tensor([[-2.0, 0.0, 1.0], [1.5, 1.0, -1.0]], dtype=torch.float64)
        logits = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return DiagonalNormalMixture(logits, loc, torch.full_like(loc, -1.0))


def test_the_prior_may_be_any_distribution(linear_gaussian):
    _, x = linear_gaussian.data(N)
    model = linear_gaussian.model()
    model.prior = Bimodal(linear_gaussian.latent, linear_gaussian.shape)
    p = model.latent_prior()
    w = linear_gaussian.w
    noise = 0.7**2 * torch.eye(len(w), dtype=torch.float64)
    parts = [
        MultivariateNormal(w @ loc + linear_gaussian.c, math.exp(-1) * w @ w.T + noise)
        for loc in p.loc
    ]
    each = torch.stack([part.log_prob(x.flatten(1)) for part in parts])
    expected = (p.log_weights[:, None] + each).logsumexp(0)
    log_px = annealed(model, x, Annealing(temperatures=40, chains=600, leapfrog=4)).log_px
    assert (log_px.errors < 0.35).all()
    assert ((log_px.values - expected).abs() < 4 * log_px.errors).all()


class Rate(Decoder):
    def forward(self, z):
        return 1 + 1.5 * z


class Counts(Likelihood):
    support = constraints.nonnegative_integer

    def forward(self, output):
        return Independent(Poisson(output.exp(), validate_args=False), 1)


def test_each_image_has_step_sizes_of_its_own():
    """A count of 200 pins z down far more closely than a count of 0."""
    model = VAE(
        MLPEncoder((1,), hidden=(2,)), Identity(1, 2), Normal(1, (1,)), Rate(1, (1,)), Counts((1,))
    )
    x = torch.tensor([[0.0], [200.0]], dtype=torch.float64)
    z = torch.linspace(-9, 9, 200_001, dtype=torch.float64)[:, None, None]
    model.double()
    joint = model.latent_prior().log_prob(z) + model.generate(z).log_prob(x)
    expected = joint.logsumexp(0) + math.log(18 / 200_000)
    bound = annealed(model, x, Annealing(temperatures=200, chains=200, leapfrog=4))
    assert ((bound.acceptance - ACCEPTANCE).abs() < 0.15).all()
    assert (bound.log_px.errors < 0.4).all()
    assert ((bound.log_px.values - expected).abs() < 4 * bound.log_px.errors).all()


def test_the_result_is_a_function_of_the_seed(linear_gaussian):
    _, x = linear_gaussian.data(3)
    model = linear_gaussian.model()
    options = {"temperatures": 4, "chains": 3, "leapfrog": 2}
    torch.manual_seed(1)
    first = annealed(model, x, Annealing(**options)).log_weight
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(annealed(model, x, Annealing(**options)).log_weight, first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(annealed(model, x, Annealing(seed=1, **options)).log_weight, first)


def test_batches_are_done_one_after_the_other(linear_gaussian):
    z, x = linear_gaussian.data(5)
    model = linear_gaussian.model()
    done = []
    options = Annealing(temperatures=3, chains=2, leapfrog=2, batch=2)
    for bound in (
        annealed(model, x, options, progress=done.append),
        annealed_backwards(model, x, z, options, progress=done.append),
    ):
        assert bound.log_weight.shape == (2, 5)
        assert bound.acceptance.shape == bound.log_px.values.shape == (5,)
    assert done == [2, 2, 1] * 2


def test_a_model_in_single_precision_is_left_as_it_was():
    model = VAE(
        MLPEncoder((1, 2, 2), hidden=(4,)),
        Identity(2, 4),
        Normal(2, (1, 2, 2)),
        MLPDecoder(2, (1, 2, 2), hidden=(5,)),
        Bernoulli((1, 2, 2)),
    )
    model.decoder = torch.nn.Sequential(model.decoder, torch.nn.Dropout(0.5))
    x = torch.ones(3, 1, 2, 2)
    options = {"temperatures": 4, "chains": 3, "leapfrog": 2}
    expected = annealed(model.eval(), x, Annealing(**options)).log_weight
    model.train()
    model.encoder.eval()
    model.decoder.requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    wanted = [p.requires_grad for p in model.parameters()]
    log_weight = annealed(model, x, Annealing(**options)).log_weight
    assert log_weight.dtype == torch.float64
    assert torch.equal(log_weight, expected)  # without dropout
    assert all(map(torch.equal, before, model.parameters()))
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert (model.training, model.encoder.training, model.decoder.training) == (True, False, True)


def test_a_model_thaws_after_an_error():
    layer = torch.nn.Linear(1, 1)

    def fail():
        with frozen(layer):
            assert not layer.training
            assert not layer.weight.requires_grad
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert layer.training
    assert layer.weight.requires_grad


def test_too_few_temperatures_or_latents_are_refused(linear_gaussian, one_sentence):
    z, x = linear_gaussian.data(3)
    model = linear_gaussian.model()
    with pytest.raises(ConfigError, match="give 2 or more") as error:
        annealed(model, x, Annealing(temperatures=1))
    one_sentence(str(error.value))
    with pytest.raises(DataError, match="one latent vector for each image") as error:
        annealed_backwards(model, x, z[:2])
    one_sentence(str(error.value))
