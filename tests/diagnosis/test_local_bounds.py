"""Local bounds and the two gaps against their closed forms."""

import json
import math
from functools import partial

import pytest
import torch

from vaeflow.diagnosis.gaps import split_gap
from vaeflow.diagnosis.local_bounds import LocalBounds, Optimization, _features, local_bounds
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation.estimates import PerImage, log_weights
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder
from vaeflow.parts.encoders.mlp import MLP
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.posteriors.full_gaussian import FullGaussian
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal as Prior

N = 8
SHORT = {"steps": 250, "lr": 0.05, "tolerance": 0.002}


def identity(features):
    return Identity(3, features)


def full(features):
    return FullGaussian(3, features)


def bounds(model, x, samples, seed=0):
    torch.manual_seed(seed)
    log_weight = log_weights(model, x, model.infer(x), samples=samples)
    return PerImage.mean(log_weight), PerImage.log_mean_exp(log_weight)


def within(estimate, expected, slack=0.0):
    """Each image by itself, and their mean, which is more exact, too."""
    off = estimate.values - expected
    assert (off.abs() < 4.5 * estimate.errors + slack).all(), (off, estimate.errors)
    assert off.mean().abs() < 4 * estimate.monte_carlo_error + slack
    return True


@pytest.mark.parametrize("detuned", [{"shift": 0.2}, {"spread": 1.4}, {"diagonal": True}])
def test_the_bounds_of_each_image_are_log_p_of_x_less_a_known_divergence(linear_gaussian, detuned):
    _, x = linear_gaussian.data(N)
    model = linear_gaussian.model(**detuned)
    elbo, iwae = bounds(model, x, 4000)
    log_px, divergence = linear_gaussian.log_px(x), linear_gaussian.divergence(model, x)
    assert (divergence > 3 * elbo.errors).all()
    assert within(elbo, log_px - divergence)
    assert within(iwae, log_px)
    assert (elbo.errors < 0.03).all()


def test_the_monte_carlo_errors_match_the_spread_of_repetitions(linear_gaussian):
    _, x = linear_gaussian.data(1)
    x = x.expand(3000, *linear_gaussian.shape)
    for bound in bounds(linear_gaussian.model(spread=1.3), x, 100):
        seen = bound.values.std()
        assert (bound.errors.square().mean().sqrt() / seen - 1).abs() < 0.1
        assert bound.monte_carlo_error == pytest.approx(bound.over_images.standard_error, rel=0.1)


@pytest.mark.parametrize("chunk", [1, 3 * N, 10_000])
def test_chunks_of_any_size_hold_all_draws(linear_gaussian, chunk):
    _, x = linear_gaussian.data(N)
    model = linear_gaussian.model(spread=1.3)
    torch.manual_seed(0)
    log_weight = log_weights(model, x, model.infer(x), samples=200, chunk=chunk)
    assert log_weight.shape == (200, N)
    expected = linear_gaussian.log_px(x) - linear_gaussian.divergence(model, x)
    assert within(PerImage.mean(log_weight), expected)


@pytest.mark.parametrize(("make", "batch"), [(identity, 3), (full, N)])
def test_the_best_q_of_a_family_is_found_for_each_image(linear_gaussian, make, batch):
    _, x = linear_gaussian.data(N)
    x[0] += 10  # one image whose posterior is far from all the others'
    gap = linear_gaussian.diagonal_gap if make is identity else 0.0
    done = []
    options = Optimization(batch=batch, **SHORT)
    local = local_bounds(linear_gaussian.model(), x, make, options, progress=done.append)
    log_px = linear_gaussian.log_px(x)
    assert sum(done) == N
    assert local.converged
    # What the optimization leaves is a nat's hundredth; the gap is eight of them.
    assert within(local.elbo, log_px - gap, slack=0.01)
    assert local.elbo.errors.max() < 0.02
    assert within(local.iwae, log_px, slack=0.01)


def test_any_posterior_is_local_to_its_image(linear_gaussian):
    _, x = linear_gaussian.data(N)
    gaps = []
    for make in (identity, lambda features: Planar(3, features, steps=6)):
        local = local_bounds(linear_gaussian.model(), x, make, Optimization(rounds=3, **SHORT))
        gaps.append(linear_gaussian.log_px(x) - local.elbo.values)
    assert (gaps[1] < 0.8 * gaps[0]).all()
    assert gaps[1].mean() < 0.5 * gaps[0].mean()
    assert gaps[1].mean() > 0


def test_the_gap_splits_into_the_losses_of_family_and_encoder(linear_gaussian):
    _, x = linear_gaussian.data(N)
    model = linear_gaussian.model(diagonal=True, shift=0.15, spread=1.3)
    divergence = linear_gaussian.divergence(model, x)
    amortized, iwae = bounds(model, x, 10_000)
    local = local_bounds(model, x, identity, Optimization(rounds=2, **SHORT))
    richer = local_bounds(model, x, full, Optimization(rounds=2, **SHORT))
    log_px = {"IWAE": iwae, "the local IWAE": richer.iwae, "nothing": amortized}
    gaps = split_gap(amortized, local.elbo, log_px, {"full": richer.elbo})
    gap = linear_gaussian.diagonal_gap
    for part, expected in {
        gaps.log_px: linear_gaussian.log_px(x),
        gaps.total: divergence,
        gaps.approximation: gap,
        gaps.amortization: divergence - gap,
        gaps.richer["full"]: 0.0,
        gaps.closed["full"]: gap,
    }.items():
        assert within(part, expected, slack=0.01)
    assert gaps.amortization.values.min() > 10 * gaps.amortization.monte_carlo_error
    assert gap > 10 * gaps.approximation.monte_carlo_error
    torch.testing.assert_close(
        gaps.total.values, gaps.approximation.values + gaps.amortization.values
    )
    told = json.loads(json.dumps(gaps.as_dict()))
    assert told["closed"]["full"]["mean"] == gaps.closed["full"].values.mean().item()
    assert told["log_px_by"] in ("IWAE", "the local IWAE")


def at_the_best_gaussian(linear_gaussian, x, batch):
    """The bounds that a search would start from, had it found the best diagonal Gaussians."""
    law = linear_gaussian.posterior(x)
    log_variance = -linear_gaussian.precision.diagonal().log().expand_as(law.mean)
    posteriors = []
    for wanted in torch.cat([law.mean, log_variance], -1).split(batch):
        posterior = identity(len(wanted)).double()
        scale = _features(len(wanted), wanted)[0, 0]
        with torch.no_grad():
            posterior.head.weight.copy_(wanted.T / scale)
            posterior.head.bias.zero_()
        posteriors.append(posterior)
    nothing = PerImage(torch.zeros(0), torch.zeros(0))
    return LocalBounds(nothing, nothing, 0.0, True, tuple(posteriors))


def test_the_error_of_the_family_s_share_holds_over_batches(linear_gaussian):
    """Equal noise in all batches would err equally in all, and by √5 times the error of five."""
    batches, batch = 5, 10
    _, x = linear_gaussian.data(batches * batch)
    start = at_the_best_gaussian(linear_gaussian, x, batch)
    log_px = linear_gaussian.log_px(x)
    exact = PerImage(log_px, torch.zeros_like(log_px))
    scores, of_batches = [], []
    for seed in range(60):
        options = Optimization(steps=1, rounds=2, lr=1e-9, samples=100, batch=batch, seed=seed)
        local = local_bounds(linear_gaussian.model(), x, identity, options, gaussian=start)
        share = split_gap(local.elbo, local.elbo, {"exact": exact}).approximation
        off, error = share.values - linear_gaussian.diagonal_gap, share.over_images.standard_error
        scores.append(off.mean() / error)
        of_batches.append(off.unflatten(0, (batches, batch)).mean(1))
    assert 0.75 < torch.stack(scores).std() < 1.3
    between = torch.corrcoef(torch.stack(of_batches).T)[*torch.triu_indices(5, 5, 1)]
    assert between.mean().abs() < 0.15


def test_differences_are_paired_and_their_errors_add_as_squares():
    a = PerImage(torch.tensor([1.0, 11.0, 21.0]).double(), torch.tensor([3.0, 0.0, 0.0]).double())
    b = PerImage(torch.tensor([0.0, 10.0, 20.0]).double(), torch.tensor([4.0, 0.0, 0.0]).double())
    gap = a - b
    assert gap.over_images.mean == 1
    assert gap.over_images.standard_error == 0
    assert gap.errors.tolist() == [5, 0, 0]
    assert gap.monte_carlo_error == pytest.approx(5 / 3)
    assert (-gap).values.tolist() == [-1, -1, -1]


def test_the_highest_bound_on_average_stands_for_log_p_of_x():
    zero = torch.zeros(2).double()
    elbo = PerImage(zero - 3, zero)
    low = PerImage(torch.tensor([-1.0, -2.0]).double(), zero)
    high = PerImage(torch.tensor([-2.0, 0.0]).double(), zero)
    gaps = split_gap(elbo, elbo, {"low": low, "high": high})
    assert gaps.log_px_by == "high"
    assert gaps.approximation.values.tolist() == [1, 3]
    assert gaps.richer == gaps.closed == {}


def test_one_draw_and_one_image_tell_no_error():
    one = PerImage.mean(torch.zeros(1, 1))
    assert math.isnan(one.errors.item())
    assert one.as_dict() == {"mean": 0, "standard_error": None, "monte_carlo_error": None}


def test_the_model_and_the_generator_are_left_as_they_were(linear_gaussian):
    _, x = linear_gaussian.data(3)
    model = linear_gaussian.model()
    model.train()
    model.decoder.eval()
    model.decoder.c.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    options = {"steps": 3, "rounds": 2, "samples": 5}
    first = local_bounds(model, x, identity, Optimization(**options)).elbo.values
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())
    assert (model.training, model.decoder.training) == (True, False)
    assert (model.decoder.w.requires_grad, model.decoder.c.requires_grad) == (True, False)
    torch.manual_seed(6)
    assert torch.equal(local_bounds(model, x, identity, Optimization(**options)).elbo.values, first)
    assert not torch.equal(
        local_bounds(model, x, identity, Optimization(seed=1, **options)).elbo.values, first
    )


def test_rounds_that_still_gain_are_not_called_a_plateau(linear_gaussian):
    _, x = linear_gaussian.data(2)
    local = local_bounds(
        linear_gaussian.model(), x, identity, Optimization(steps=5, rounds=2, samples=200)
    )
    assert not local.converged
    assert local.gain > 0.01


def test_an_optimization_that_cannot_work_is_refused(linear_gaussian, one_sentence):
    _, x = linear_gaussian.data(2)
    model = linear_gaussian.model()
    with pytest.raises(ConfigError, match="give 2 or more") as error:
        local_bounds(model, x, identity, Optimization(rounds=1))
    one_sentence(str(error.value))
    with pytest.raises(NonFiniteError, match="give a smaller one") as error:
        local_bounds(model, x, identity, Optimization(steps=3, lr=1e6))
    one_sentence(str(error.value))


class Split(Decoder):
    """Opposite corners of the latent space look the same: the posterior has two bends."""

    def __init__(self, latent, shape):
        super().__init__(latent, shape)
        self.c = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, z):
        return (z.square() - 1 + self.c).unflatten(-1, self.output_shape)


@pytest.mark.parametrize("gaussian", [True, False])
def test_no_flow_is_below_the_gaussian_that_it_contains(gaussian):
    """16 maps in 20 dimensions, of which most are the prior's, as in a model that fits little."""
    latent, shape = 20, (4, 5)
    decoder = Split(latent, shape)
    if gaussian:  # z + noise: the posterior is a diagonal Gaussian
        decoder.forward = lambda z: z.unflatten(-1, shape)
    model = VAE(
        MLP(shape, hidden=[1]), Identity(latent, 1), Prior(latent, shape), decoder,
        Gaussian(shape, sigma=2.0),
    ).double()  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
    short = {"steps": 200, "lr": 0.05, "rounds": 2}
    best = local_bounds(model, x, partial(Identity, latent), Optimization(**short))
    for flow, options in ((Planar, {}), (IAF, {"steps": 1, "width": 20})):
        make = partial(flow, latent, **options)
        local = local_bounds(model, x, make, Optimization(**short), gaussian=best)
        closed = (local.elbo - best.elbo).over_images
        slack = 0.03 if flow is IAF else 0.002  # the plain gradient is not done in 400 steps
        assert closed.mean > -3 * closed.monte_carlo_error - slack, flow.__name__
        if gaussian:
            assert closed.mean < 3 * closed.monte_carlo_error


def test_a_q_that_scores_its_own_draws_alone_has_the_plain_gradient(linear_gaussian, monkeypatch):
    """Its best is found too, only with more noise."""

    def unknown(terms):
        raise ConfigError("no ∂ log q(z|x)/∂z")

    monkeypatch.setattr("vaeflow.terms.Terms.log_q_of_path", unknown)
    _, x = linear_gaussian.data(2)
    local = local_bounds(linear_gaussian.model(), x, identity, Optimization(rounds=2, **SHORT))
    assert within(local.elbo, linear_gaussian.log_px(x) - linear_gaussian.diagonal_gap, slack=0.01)
