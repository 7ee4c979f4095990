"""The KL of each latent dimension, against closed forms."""

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from vaeflow.distributions.draw import draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal, StandardNormal
from vaeflow.evaluation.dimensions import kl_per_dimension


@pytest.fixture
def q():
    torch.manual_seed(0)
    return DiagonalNormal(torch.randn(5, 3), torch.randn(5, 3))


def test_of_gaussians_it_adds_up_to_the_kl(q):
    p = StandardNormal(torch.zeros(3))
    found = kl_per_dimension(q, p)
    mean, variance = q.loc.double(), (2 * q.log_scale).exp().double()
    expected = 0.5 * (mean**2 + variance - 1 - variance.log()).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    whole = kl_divergence(Independent(q.base_dist, 1), Independent(p.base_dist, 1)).mean()
    assert found.sum().item() == pytest.approx(whole.item(), rel=1e-6)


def test_without_a_formula_it_is_averaged_over_draws(q, monkeypatch):
    class Odd(Normal):
        """Has no registered KL of its own."""

    p = Independent(Odd(torch.zeros(3), torch.ones(3)), 1)
    exact = kl_per_dimension(q, StandardNormal(torch.zeros(3)))
    monkeypatch.setattr(
        "vaeflow.evaluation.dimensions.kl_divergence",
        lambda *laws: (_ for _ in ()).throw(NotImplementedError),
    )
    found = kl_per_dimension(q, p, draws=200_000)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)


def test_of_another_law_it_is_that_of_its_moments(q):
    """Of a flow without maps, a Gaussian, it is exact, and few draws do not bias it."""
    p = Independent(Normal(torch.tensor([1.0, 0, -1]), torch.tensor([2.0, 1, 0.5])), 1)
    exact = kl_per_dimension(q, p)
    torch.testing.assert_close(
        kl_per_dimension(Flow(q, []), p, draws=100_000), exact, rtol=0.01, atol=0.01
    )
    few = torch.stack([kl_per_dimension(Flow(q, []), p, draws=5) for _ in range(4000)])
    error = few.std(0) / 4000**0.5
    assert ((few.mean(0) - exact).abs() < 4 * error).all()


def test_the_kl_of_a_flow_is_no_smaller_than_their_sum(q):
    def curved(z):
        first, second, third = z.unbind(-1)
        return torch.stack((first, second + first**2, third - first), -1), torch.zeros_like(first)

    flow, p = Flow(q, [curved]), StandardNormal(torch.zeros(3))
    sample = draw(flow, (100_000,))
    kl = (sample.log_prob - p.log_prob(sample.z)).double().mean().item()
    assert 0 < kl_per_dimension(flow, p, draws=100_000).sum().item() < kl


def test_other_priors_and_laws(q):
    p = StandardNormal(torch.zeros(3))
    assert kl_per_dimension(q, Flow(p, [])) is None
    laplace = Independent(Laplace(torch.zeros(3), torch.ones(3)), 1)
    assert kl_per_dimension(Flow(q, []), laplace) is None
    assert kl_per_dimension(Independent(Laplace(q.loc, torch.ones(5, 3)), 1), p).shape == (3,)
