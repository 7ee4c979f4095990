"""Integrals over one value of a density: totals, means and probabilities, by closed forms."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal, constraints

from vaeflow.testing.conditionals import conditionals, marginals
from vaeflow.testing.lines import line_of
from vaeflow.testing.registered import NotApplicable

LAWS = {
    "a Gaussian": (stats.norm(5, 1e-3), constraints.real),
    "a kink": (stats.laplace(-3, 2), constraints.real),
    "a jump": (stats.uniform(1, 4), constraints.real),
    "a heavy tail": (stats.t(1.5, 2, 0.1), constraints.real),
    "no mean": (stats.cauchy(1, 3), constraints.real),
    "a U": (stats.beta(0.1, 0.2), constraints.unit_interval),
    "a wall": (stats.beta(3, 0.3), constraints.unit_interval),
    "a pole": (stats.gamma(0.05), constraints.positive),
    "decades": (stats.lognorm(3), constraints.positive),
    "an edge": (stats.expon(), constraints.nonnegative),
    "few counts": (stats.poisson(0.01), constraints.nonnegative_integer),
    "many counts": (stats.nbinom(0.3, 0.05), constraints.nonnegative_integer),
    "few values": (stats.binom(10, 0.3), constraints.integer_interval(0, 10)),
}


def draws_of(law, count=1000):
    return torch.from_numpy(law.rvs((count, 1), random_state=3)).double()


def log_prob(law, excess=0.0):
    """log p(x) of scipy's law, (n, 1) to (n,)."""
    score = law.logpmf if hasattr(law.dist, "logpmf") else law.logpdf
    return lambda x: torch.from_numpy(score(x[:, 0].numpy())) + excess


@pytest.mark.parametrize("name", LAWS)
def test_a_law_has_its_total_its_mean_and_its_distribution_function(name):
    law, support = LAWS[name]
    line = line_of(support, (1,))
    seen = marginals(log_prob(law, 0.7), draws_of(law), line)
    # As floats are 10⁻¹⁶ apart near 1, the share of a wall within 10⁻⁹ of it is a power law.
    assert seen.log_total.item() == pytest.approx(0.7, abs=1e-6)
    if math.isfinite(law.mean()):
        assert seen.mean.item() == pytest.approx(law.mean(), abs=1e-5 * abs(law.mean()))
    below = seen.shares[0].cumsum(0)[:-1]
    assert below.numpy() == pytest.approx(law.cdf(seen.bins.edges[0].numpy()), abs=1e-6)


def test_a_mean_that_does_not_exist_is_no_number():
    law, support = LAWS["no mean"]
    assert not marginals(log_prob(law), draws_of(law), line_of(support, (1,))).mean.isfinite().any()


def test_the_mass_that_floats_cannot_tell_from_a_bound_is_told():
    law, support = LAWS["a U"]
    doubt = marginals(log_prob(law), draws_of(law), line_of(support, (1,))).error.item()
    assert doubt == pytest.approx(law.cdf(1e-6) + law.sf(1 - 1e-6), rel=1e-4)
    law, support = LAWS["an edge"]
    assert marginals(log_prob(law), draws_of(law), line_of(support, (1,))).error.item() == 0


@pytest.mark.parametrize("share", [0.3, 1e-4])
def test_an_atom_at_a_bound_is_counted_however_rare(share):
    def mixed(x):
        inside = math.log1p(-share) + log_prob(stats.expon())(x)
        return torch.where(x[:, 0] == 0, math.log(share), inside)

    x = draws_of(stats.expon())
    x[: round(1000 * share)] = 0
    law = marginals(mixed, x, line_of(constraints.nonnegative, (1,)))
    assert law.log_total.item() == pytest.approx(0, abs=1e-6)
    assert law.bins.atoms.tolist() == [[0.0]]
    assert law.shares[0, -1].item() == pytest.approx(share)


def test_one_value_given_the_others_is_that_of_a_gaussian():
    torch.manual_seed(0)
    a = torch.randn(4, 4).double()
    p = MultivariateNormal(torch.randn(4).double(), a @ a.T + torch.eye(4))
    x = p.sample((50,))
    values = torch.arange(50) % 4
    law = conditionals(p.log_prob, x, values, line_of(constraints.real, (4,)), p.sample((1000,)))
    precision = p.precision_matrix
    gap = ((x - p.mean) @ precision).gather(1, values[:, None])[:, 0]
    mean = x.gather(1, values[:, None])[:, 0] - gap / precision.diagonal()[values]
    assert torch.allclose(law.mean, mean, atol=1e-7)
    scale = precision.diagonal()[values].rsqrt()
    below = Normal(mean, scale).cdf(law.bins.edges[:, 5])
    assert torch.allclose(law.shares[:, :6].sum(1), below, atol=1e-7)


def test_narrow_peaks_are_found_between_the_draws():
    means = torch.linspace(-50, 50, 40).double()
    p = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=torch.zeros(40).double()),
        Independent(Normal(means[:, None], torch.full((40, 1), 1e-3).double()), 1),
    )
    torch.manual_seed(0)
    law = marginals(p.log_prob, p.sample((1000,)), line_of(constraints.real, (1,)), fine=True)
    assert law.log_total.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("support", [constraints.simplex, constraints.positive_definite])
def test_a_support_that_binds_values_together_is_not_applicable(support):
    with pytest.raises(NotApplicable, match="no grid"):
        line_of(support, (3,))
