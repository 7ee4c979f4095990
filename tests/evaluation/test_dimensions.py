"""The KL of each latent dimension, against closed forms."""

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal, kl_divergence

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


def test_a_law_that_is_no_product_has_none(q):
    p = StandardNormal(torch.zeros(3))
    assert kl_per_dimension(Flow(q, []), p) is None
    assert kl_per_dimension(q, Flow(StandardNormal(torch.zeros(3)), [])) is None
    assert kl_per_dimension(Independent(Laplace(q.loc, torch.ones(5, 3)), 1), p).shape == (3,)
