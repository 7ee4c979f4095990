"""Imputed values, against linear-Gaussian models whose conditional laws are known."""

import math

import pytest
import torch
from torch.distributions import Distribution, Independent, MultivariateNormal, StudentT, constraints

from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation.imputation import _moments, _WeightedMoments, impute_examples
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Encoder, Likelihood, Posterior
from vaeflow.parts.likelihoods import Categorical, ContinuousBernoulli, Gaussian
from vaeflow.parts.priors.normal import Normal

D, L, SIGMA = 5, 2, 0.6


class Flatten(Encoder):
    """The data and its mask are their own features."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.features = math.prod(data_shape)

    def forward(self, x):
        return x.flatten(1)


class Affine(Decoder):
    """z -> Wz + c."""

    def __init__(self, latent, output_shape):
        super().__init__(latent, output_shape)
        generator = torch.Generator().manual_seed(1)
        self.w = torch.nn.Parameter(torch.randn(D, L, generator=generator).double())
        self.c = torch.nn.Parameter(torch.linspace(-1, 1, D).double())

    def forward(self, z):
        return z @ self.w.T + self.c


class GivenObserved(Posterior):
    """p(z|x_o), its mean shifted and its covariance scaled."""

    def __init__(self, features, decoder, shift, wider):
        super().__init__(L, features)
        self.decoder, self.shift, self.wider = decoder, shift, wider

    def forward(self, h):
        x, observed = h.chunk(2, 1)
        w = self.decoder.w * observed[..., None]
        precision = torch.eye(L).double() + w.mT @ w / SIGMA**2
        covariance = torch.linalg.inv(precision)
        mean = (covariance @ w.mT @ (x - self.decoder.c)[..., None])[..., 0] / SIGMA**2
        return MultivariateNormal(mean + self.shift, self.wider * covariance)


def model(shift=0.0, wider=1.0, likelihood=None, missing=True):
    decoder, seen = Affine(L, (D,)), 2 * D if missing else D
    return VAE(
        encoder=Flatten((seen,)),
        posterior=GivenObserved(seen, decoder, shift, wider),
        prior=Normal(L, (seen,)),
        decoder=decoder,
        likelihood=likelihood or Gaussian((D,), sigma=SIGMA),
        missing=missing,
    ).double()


def data(rows=12):
    """Return rows with gaps, one without and one with nothing else."""
    torch.manual_seed(2)
    x = 2 * torch.randn(rows, D, dtype=torch.float64)
    x[torch.rand(rows, D) < 0.4] = torch.nan
    x[0], x[1] = torch.arange(D), torch.nan
    return x


def conditional(x):
    """Return mean and deviation of the missing values of one row, by the joint Gaussian."""
    decoder, m = Affine(L, (D,)), x.isnan()
    joint = decoder.w @ decoder.w.T + SIGMA**2 * torch.eye(D).double()
    solved = torch.linalg.solve(joint[~m][:, ~m], joint[~m][:, m])
    mean = decoder.c[m] + (x - decoder.c)[~m] @ solved
    return mean, (joint[m][:, m] - joint[m][:, ~m] @ solved).diagonal().sqrt()


@pytest.mark.parametrize(("shift", "wider"), [(0.0, 1.0), (0.2, 2.0)])
@torch.no_grad()
def test_a_missing_value_has_the_mean_and_the_spread_of_its_conditional_law(shift, wider):
    x = data()
    found = impute_examples(model(shift, wider), x, samples=20_000)
    assert torch.equal(found.missing, x.isnan())
    for row in range(1, len(x)):
        m, size = found.missing[row], found.effective_sample_size[row].item()
        mean, deviation = conditional(x[row])
        off = (found.x[row, m] - mean).abs() / deviation
        assert off.max() < 5 / math.sqrt(size), f"row {row}"
        ratio = found.spread[row, m] / deviation - 1
        assert ratio.abs().max() < 5 / math.sqrt(size), f"row {row}"
    if wider == 1:  # all weights are equal
        torch.testing.assert_close(found.effective_sample_size[1:], torch.full((11,), 2e4).double())
    assert not found.unreliable.any()


def test_what_was_observed_stays_and_is_certain():
    x = data()
    found = impute_examples(model(), x, samples=30)
    observed = ~x.isnan()
    assert torch.equal(found.x[observed], x[observed])
    assert not found.spread[observed].any()
    assert (found.spread[~observed] > 0).all()
    assert found.incomplete.tolist() == [False] + [True] * 11
    assert found.effective_sample_size.isnan().tolist() == [True] + [False] * 11
    assert "of 12 examples, K = 30" in repr(found)


def test_a_seed_repeats_the_draws_and_leaves_the_generator_alone():
    x, before = data(), torch.get_rng_state()
    found = [impute_examples(model(0.5), x, samples=50, seed=seed) for seed in (4, 4, 5)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(found[0].x, found[1].x)
    assert not torch.equal(found[0].x, found[2].x)


def test_a_proposal_that_misses_the_posterior_is_told():
    found = impute_examples(model(shift=4.0, wider=0.2), data(), samples=1000)
    assert found.unreliable[1:].all()
    assert (found.effective_sample_size[1:] < 100).all()


def test_the_blocks_of_draws_change_nothing_but_rounding():
    torch.manual_seed(0)
    log_weight, mean, variance = torch.randn(50, 3) * 9, torch.randn(50, 3, 4), torch.rand(50, 3, 4)
    whole, blocks = _WeightedMoments(), _WeightedMoments()
    terms = [t.double() for t in (log_weight, mean + 1e4, variance)]
    whole.add(*terms)
    for part in zip(*(t.split(7) for t in terms), strict=True):
        blocks.add(*part)
    share = terms[0].softmax(0)[..., None]
    wanted = (share * terms[1]).sum(0)
    total = (share * (terms[2] + (terms[1] - wanted).square())).sum(0)
    for found in (whole, blocks):
        torch.testing.assert_close(found.mean, wanted)
        torch.testing.assert_close(found.variance, total)


class OnlyDraws(Distribution):
    """A law that tells neither mean nor variance."""

    def sample(self, sample_shape=()):
        return torch.ones(2, 3)


@pytest.mark.parametrize("likelihood", [Categorical((4,), levels=3), ContinuousBernoulli((4,))])
def test_a_law_that_tells_no_variance_is_drawn_from(likelihood):
    torch.manual_seed(0)
    output = torch.randn(likelihood.output_shape).double()
    px = likelihood(output.expand(20_000, 1, *output.shape))
    mean, variance = _moments(px)
    torch.testing.assert_close(mean, px.mean)
    torch.testing.assert_close(variance.mean(0), px.sample().var(0), rtol=0.05, atol=0)


def test_a_law_that_tells_no_mean_is_drawn_from():
    mean, variance = _moments(OnlyDraws(validate_args=False))
    assert torch.equal(mean, torch.ones(2, 3))
    assert not variance.any()


class Heavy(Likelihood):
    """A law whose variance is infinite."""

    support = constraints.real

    def forward(self, output):
        return Independent(StudentT(1.5, output, 0.1), 1)


def test_an_infinite_variance_is_told_as_such():
    found = impute_examples(model(4.0, 0.2, Heavy((D,))), data(), samples=2000)
    assert found.x.isfinite().all()
    assert found.spread[found.missing].isposinf().all()


def test_a_model_without_masks_says_what_to_do():
    with pytest.raises(ConfigError, match=r"takes no missing values: train it with .*missing"):
        impute_examples(model(missing=False), data())


def test_an_example_that_no_draw_explains_is_named():
    x = data()
    x[5, 0], x[5, 1] = 1e200, torch.nan
    with pytest.raises(NonFiniteError, match="the weights of example 5 are no numbers"):
        impute_examples(model(), x, samples=10)
