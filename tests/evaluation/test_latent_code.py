"""I(x; z) and KL(q(z) ‖ p) of a linear-Gaussian model, where q(z) is normal."""

import math

import pytest
import torch
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from vaeflow.evaluation import latent_code as code
from vaeflow.evaluation.latent_code import describe_latent_code
from vaeflow.parts.abstract import Posterior


def truth(world, shift, spread):
    """Return I(x; z) and KL(q(z) ‖ p) of data from the model itself.

    The means of p(z|x) have the covariance I − Σ, so that q(z) = N(shift, I − Σ + spread² Σ).
    """
    sigma = torch.linalg.inv(world.precision)
    eye = torch.eye(len(sigma), dtype=torch.float64)
    marginal = eye - sigma + spread**2 * sigma
    information = 0.5 * (marginal.logdet() - (spread**2 * sigma).logdet())
    q = MultivariateNormal(torch.full((len(sigma),), shift, dtype=torch.float64), marginal)
    p = MultivariateNormal(torch.zeros(len(sigma), dtype=torch.float64), eye)
    return information.item(), kl_divergence(q, p).item()


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.5), (0.8, 2.0), (-0.3, 1.3)])
def test_information_and_marginal_divergence_match_their_closed_forms(
    linear_gaussian, shift, spread
):
    information, divergence = truth(linear_gaussian, shift, spread)
    _, x = linear_gaussian.data(1500)
    found = describe_latent_code(linear_gaussian.model(shift=shift, spread=spread), x, images=1500)
    i, kl = found.mutual_information, found.marginal_kl
    assert information > 10 * i.standard_error
    assert abs(i.mean - information) < 3 * i.standard_error
    assert abs(kl.mean - divergence) < 3 * kl.standard_error
    assert i.mean + kl.mean == pytest.approx(found.kl.mean)
    assert (found.images, found.latent, found.active_units) == (1500, 3, 3)


def test_n_images_give_at_most_log_n_of_information(linear_gaussian):
    _, x = linear_gaussian.data(200)
    found = describe_latent_code(linear_gaussian.model(spread=1e-4), x, images=50)
    assert found.mutual_information.mean == pytest.approx(math.log(50))
    assert found.images == 50


def test_a_code_that_knows_nothing_of_x_has_no_active_unit(linear_gaussian):
    _, x = linear_gaussian.data(60)
    found = describe_latent_code(linear_gaussian.model(), x[:1].expand_as(x))
    assert found.active_units == 0
    assert found.mutual_information.mean == pytest.approx(0)


def test_the_images_are_spread_over_the_data(linear_gaussian):
    seen = []
    model = linear_gaussian.model()
    model.encoder.register_forward_hook(lambda m, x, out: seen.append(x[0]))
    _, x = linear_gaussian.data(101)
    describe_latent_code(model, x, images=5)
    assert torch.equal(seen[0], x[[0, 25, 50, 75, 100]])


class OwnDraws(Distribution):
    """N(h, I), which scores nothing but its own draws."""

    def __init__(self, h):
        super().__init__(h.shape[:1], h.shape[1:], validate_args=False)
        self.normal = MultivariateNormal(h, torch.eye(h.shape[-1], dtype=h.dtype))

    def rsample_and_log_prob(self, shape):
        z = self.normal.rsample(shape)
        return z, self.normal.log_prob(z)


class Closed(Posterior):
    def forward(self, h):
        return OwnDraws(h[:, :3])


class Broken(Posterior):
    def forward(self, h):
        q = MultivariateNormal(h[:, :3], torch.eye(3, dtype=h.dtype))
        q.log_prob = lambda z: torch.full(z.shape[:-1], torch.nan, dtype=h.dtype)
        q.rsample_and_log_prob = lambda shape: (q.rsample(shape), torch.zeros(*shape, len(h)))
        return q


@pytest.mark.parametrize(
    ("posterior", "reason"),
    [(Closed, "OwnDraws scores its own draws alone"), (Broken, "is not finite")],
)
def test_where_draws_cannot_be_scored_the_reason_is_told(linear_gaussian, posterior, reason):
    model = linear_gaussian.model()
    model.posterior = posterior(3, 6)
    _, x = linear_gaussian.data(30)
    found = describe_latent_code(model, x)
    assert reason in found.unknown
    assert found.mutual_information is found.marginal_kl is None
    assert found.kl.standard_error > 0
    assert found.active_units == 3


def test_scores_that_would_take_too_long_are_not_waited_for(linear_gaussian, monkeypatch):
    monkeypatch.setattr(code, "_MINUTES", 0.0)
    _, x = linear_gaussian.data(30)
    assert "900 scores would take about" in describe_latent_code(linear_gaussian.model(), x).unknown
