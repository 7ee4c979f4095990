"""The score of what was observed: the marginal's density, and gradients of the observed alone."""

import math

import pytest
import torch
from torch.distributions import (
    Gamma,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
    Uniform,
)

from vaeflow.distributions import log_prob_of_observed
from vaeflow.errors import ConfigError
from vaeflow.parts import likelihoods

SHAPE = (2, 3)
EVERY = {
    "bernoulli": likelihoods.Bernoulli(SHAPE),
    "categorical": likelihoods.Categorical(SHAPE, levels=5),
    "continuous-bernoulli": likelihoods.ContinuousBernoulli(SHAPE),
    "discretized-logistic": likelihoods.DiscretizedLogistic(SHAPE, levels=5),
    "discretized-logistic-mixture": likelihoods.DiscretizedLogisticMixture(SHAPE, levels=5),
    "gaussian": likelihoods.Gaussian(SHAPE, scale="pixel"),
    "laplace": likelihoods.Laplace(SHAPE),
    "negative-binomial": likelihoods.NegativeBinomial(SHAPE),
    "poisson": likelihoods.Poisson(SHAPE),
    "student-t": likelihoods.StudentT(SHAPE),
}


def _observed(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


@pytest.mark.parametrize("name", EVERY)
def test_the_score_and_its_gradient_are_those_of_the_observed_values(name):
    likelihood = EVERY[name].double().eval()
    torch.manual_seed(1)
    output = torch.randn(4, 5, *likelihood.output_shape, dtype=torch.float64, requires_grad=True)
    x = likelihood(output).sample()[0]
    observed = _observed(x.shape)
    score = log_prob_of_observed(likelihood(output), x.where(observed, math.nan), observed)
    alone = likelihood(output).base_dist.log_prob(x)[:, observed]  # the values left out, left out
    rows = observed.nonzero()[:, 0]
    wanted = alone.new_zeros(4, 5).index_add(1, rows, alone)
    torch.testing.assert_close(score, wanted)
    found, gradient = (torch.autograd.grad(s.sum(), output)[0] for s in (score, wanted))
    torch.testing.assert_close(found, gradient)
    assert found.isfinite().all()
    everything = log_prob_of_observed(likelihood(output), x, torch.ones_like(observed))
    assert torch.equal(everything, likelihood(output).log_prob(x))


def test_it_is_the_marginal_of_a_gaussian():
    mean, scale = torch.randn(3, 1, 4).double(), torch.rand(3, 1, 4).double() + 0.5
    x, observed = torch.randn(1, 4).double(), torch.tensor([[True, False, True, False]])
    joint = MultivariateNormal(mean[..., ::2], scale_tril=torch.diag_embed(scale[..., ::2]))
    score = log_prob_of_observed(Independent(Normal(mean, scale), 1), x, observed)
    torch.testing.assert_close(score, joint.log_prob(x[..., ::2]))


@pytest.mark.parametrize("law", [Gamma, LogNormal, lambda a, b: Uniform(-a - 1, b + 1)])
def test_a_missing_value_leaves_gradients_finite_in_any_support(law):
    a = torch.full((1, 1, 2), 0.5, dtype=torch.float64, requires_grad=True)
    x, observed = torch.tensor([[0.3, math.nan]]).double(), torch.tensor([[True, False]])
    score = log_prob_of_observed(Independent(law(a, a), 1, validate_args=True), x, observed)
    (gradient,) = torch.autograd.grad(score.sum(), a)
    assert gradient.isfinite().all()
    assert gradient[..., 1] == 0


def test_the_optimal_scale_is_that_of_the_observed_errors():
    likelihood = likelihoods.Gaussian((3,), scale="optimal").double().train()
    output = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    x, observed = torch.randn(4, 3).double(), _observed((4, 3))
    sigma = (x - output[0])[observed].square().mean().sqrt().detach()
    gaps = x.where(observed, math.nan)
    p = likelihood(output)
    wanted = torch.where(observed, Normal(output, sigma).log_prob(x), 0.0).sum(-1)
    score = log_prob_of_observed(p, gaps, observed)
    torch.testing.assert_close(score, wanted)
    assert torch.autograd.grad(score.sum(), output)[0].isfinite().all()
    likelihood.observe(p, gaps)
    torch.testing.assert_close(likelihood.variance.double(), sigma**2)


def test_a_law_of_whole_examples_is_refused():
    p = MultivariateNormal(torch.zeros(1, 1, 2), torch.eye(2))
    with pytest.raises(ConfigError, match=r"likelihood mine scores .* as a whole .*Multivariate"):
        log_prob_of_observed(p, torch.zeros(1, 2), torch.ones(1, 2).bool(), "likelihood mine")


class Correlated(MultivariateNormal):
    """A law whose values depend on each other, and which knows its marginals."""

    def log_prob_of_observed(self, x):
        known = ~x[0].isnan()
        covariance = self.covariance_matrix[known][:, known]
        return MultivariateNormal(self.loc[known], covariance).log_prob(x[:, known])


def test_a_law_that_knows_its_marginals_is_asked_for_them():
    p = Correlated(
        torch.zeros(3), torch.tensor([[2.0, 0.5, 0.9], [0.5, 1.0, 0.2], [0.9, 0.2, 3.0]])
    )
    x, observed = torch.ones(2, 3), torch.tensor([[True, False, True]]).expand(2, 3)
    wanted = MultivariateNormal(torch.zeros(2), torch.tensor([[2.0, 0.9], [0.9, 3.0]]))
    seen = log_prob_of_observed(p, x, observed)
    torch.testing.assert_close(seen, wanted.log_prob(x[:, [0, 2]]))
