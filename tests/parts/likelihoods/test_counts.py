"""The likelihoods of counts against SciPy."""

import math

import pytest
import torch
from scipy import stats

from vaeflow.data.checks import check_values
from vaeflow.errors import DataError
from vaeflow.parts.likelihoods.negative_binomial import NegativeBinomial
from vaeflow.parts.likelihoods.poisson import Poisson

SHAPE = (6,)
PARTS = [Poisson, NegativeBinomial]


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def counts(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.poisson(torch.full(shape, 4.0).double(), generator=generator)


def softplus(x):
    return torch.log1p(x.exp())


def test_poisson_is_scipys():
    output, x = 3 * randn(5, 4, *SHAPE), counts(4, *SHAPE)
    p = Poisson(SHAPE)(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    wanted = torch.as_tensor(stats.poisson(softplus(output)).logpmf(x)).sum(-1)
    torch.testing.assert_close(p.log_prob(x), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(p.mean, softplus(output))


@pytest.mark.parametrize("dispersion", ["fixed", "shared", "pixel"])
@pytest.mark.parametrize("r", [0.1, 1.0, 29.0, 31.0, 1e4])
def test_negative_binomial_is_scipys(r, dispersion):
    likelihood = NegativeBinomial(SHAPE, dispersion=dispersion, r=r).double()
    mean, x = 3 * randn(5, 4, *SHAPE), counts(4, *SHAPE)
    output = mean if dispersion != "pixel" else torch.stack([mean, torch.zeros_like(mean)], 2)
    assert output.shape[2:] == likelihood.output_shape
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    mu = softplus(mean)
    wanted = torch.as_tensor(stats.nbinom(r, r / (r + mu)).logpmf(x)).sum(-1)
    torch.testing.assert_close(p.log_prob(x), wanted, rtol=1e-6, atol=1e-6)  # raw is float32
    torch.testing.assert_close(p.mean, mu)


def test_many_counts_sum_to_one():
    x = torch.arange(20_000.0).double().view(-1, 1)
    for likelihood in (Poisson((1,)), NegativeBinomial((1,), dispersion="fixed", r=0.5)):
        for output in (-50.0, -1.0, 5.0, 300.0):
            p = likelihood(torch.tensor(output).double().view(1, 1, 1))
            assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_variance_is_mu_plus_mu_squared_over_r():
    torch.manual_seed(0)
    output = torch.tensor([0.5, 3.0, 20.0])
    x = NegativeBinomial((3,), dispersion="fixed", r=2.0)(output).sample((100_000,))
    mu = softplus(output)
    torch.testing.assert_close(x.mean(0), mu, rtol=0.02, atol=0)
    torch.testing.assert_close(x.var(0), mu + mu**2 / 2, rtol=0.04, atol=0)
    x = Poisson((3,))(output).sample((100_000,))
    torch.testing.assert_close(x.mean(0), mu, rtol=0.02, atol=0)
    torch.testing.assert_close(x.var(0), mu, rtol=0.04, atol=0)


def test_large_r_is_the_poisson_in_float32_too():
    output, x = (3 * randn(4, *SHAPE)).float(), counts(4, *SHAPE).float()
    one = NegativeBinomial(SHAPE, dispersion="fixed", r=1e7)(output).log_prob(x)
    torch.testing.assert_close(one, Poisson(SHAPE)(output).log_prob(x), rtol=1e-5, atol=1e-4)


SIZES = [1.0, 100.0, 1e4, 1e6]


@pytest.mark.parametrize("away", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("size", SIZES)
def test_large_counts_keep_their_digits_in_float32(size, away):
    """Poisson and, for r from 1e-3 on, negative binomial: log p and its gradient in the output."""
    generator = torch.Generator().manual_seed(0)
    mu = (size * (0.5 + torch.rand(200, 1, 1, generator=generator))).round()
    output = torch.log(torch.expm1(mu.double())).where(mu < 20, mu.double()).float()
    x = torch.poisson(away * mu, generator=generator).double()
    mu = softplus(output.double()).where(output < 20, output.double())
    slope = torch.sigmoid(output.double())
    cases = [(Poisson((1,)), stats.poisson(mu).logpmf(x), (x / mu - 1) * slope)]
    for r in (1e-3, 1.0, 30.0, 1e6):
        part = NegativeBinomial((1,), dispersion="fixed", r=r)
        wanted = torch.as_tensor(stats.nbinom(r, r / (r + mu)).logpmf(x))
        cases.append((part, wanted, (x - mu) * r / (mu * (r + mu)) * slope))
    for part, wanted, gradient in cases:
        leaf = output.clone().requires_grad_()
        score = part(leaf).log_prob(x.float())
        assert score.dtype == torch.float32
        (seen,) = torch.autograd.grad(score.sum(), leaf)
        torch.testing.assert_close(
            score.double(), torch.as_tensor(wanted)[..., 0], rtol=1e-6, atol=1e-6
        )
        torch.testing.assert_close(seen.double(), gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"dispersion": "shared"}, {"dispersion": "pixel"}])
def test_gradients_match_finite_differences(options):
    x = counts(2, *SHAPE)
    for likelihood in (Poisson(SHAPE), NegativeBinomial(SHAPE, **options).double()):
        output = (3 * randn(1, 2, *likelihood.output_shape)).requires_grad_()

        def score(output, likelihood=likelihood):
            return likelihood(output).log_prob(x)

        assert torch.autograd.gradcheck(score, output)


def test_shared_dispersion_learns():
    likelihood = NegativeBinomial(SHAPE).double()
    output = torch.full((500, *SHAPE), math.log(math.expm1(4.0)), dtype=torch.float64)
    likelihood(output).log_prob(counts(500, *SHAPE)).mean().backward()
    assert likelihood.raw.grad > 0  # the counts are Poisson's: r = ∞


@pytest.mark.parametrize("part", PARTS)
def test_extreme_outputs_are_finite(part):
    for options in ({}, {"dispersion": "pixel"}) if part is NegativeBinomial else ({},):
        likelihood = part(SHAPE, **options)
        output = (1e4 * randn(3, 2, *likelihood.output_shape)).float().requires_grad_()
        x = torch.tensor([0.0, 0, 1, 5, 300, 1e5])
        score = likelihood(output).log_prob(x)
        (gradient,) = torch.autograd.grad(score.sum(), output)
        assert torch.isfinite(score).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0.0, 2.5], "use --likelihood gaussian"),
        ([0.0, -1.0], "use --likelihood gaussian"),
        ([0.0, 0.5], "use --likelihood continuous-bernoulli"),
        ([1 / 255, 2 / 255], "keep whole numbers as they are by --dataset.scale 1"),
    ],
)
def test_what_is_no_count_is_refused(part, values, told, one_sentence):
    support = part((2,)).support
    check_values("training", torch.tensor([[0.0, 3.0]]), (2,), support)
    with pytest.raises(DataError) as caught:
        check_values("training", torch.tensor([values]), (2,), support)
    one_sentence(str(caught.value))
    assert "it needs whole numbers ≥ 0" in str(caught.value)
    assert str(caught.value).endswith(told)
