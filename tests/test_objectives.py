"""The ELBO's weight, its two forms of the KL term and its mean over samples."""

import pytest
import torch
from torch.distributions import Independent, Normal

from vaeflow.distributions import DiagonalNormal, Flow, draw
from vaeflow.errors import ConfigError
from vaeflow.model import Terms
from vaeflow.objectives import ELBO, Objective

TOLERANCE = {"rtol": 0, "atol": 1e-12}


def gaussian_terms(samples, images=4, latent=3, flow=False):
    """Return terms at a Gaussian posterior and prior; log p(x|z) = −½‖z − x‖² for some x."""
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    q = DiagonalNormal(
        torch.randn(images, latent, **options), torch.randn(images, latent, **options)
    )
    if flow:
        q = Flow(q, [])
    prior = Independent(Normal(torch.zeros(latent, **options), torch.ones(latent, **options)), 1)
    sample = draw(q, (samples,))
    return Terms(
        log_px=-0.5 * (sample.z - torch.randn(images, latent, **options)).square().sum(-1),
        log_pz=prior.log_prob(sample.z),
        log_base=sample.log_base,
        log_det=sample.log_det,
        z=sample.z,
        posterior=q,
        prior=prior,
    )


def made_up_terms(samples, images=4):
    """Return terms of arbitrary numbers, with a log-determinant that is not 0."""
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(4, samples, images, dtype=torch.float64, generator=generator)
    z = torch.zeros(samples, images, 2, dtype=torch.float64)
    return Terms(*numbers, z=z, posterior=None, prior=None)


def beta(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
def test_beta_weighs_the_sampled_kl_term_and_nothing_else(weight):
    terms = made_up_terms(samples=5)
    log_qz = terms.log_base - terms.log_det
    expected = (terms.log_px - weight * (log_qz - terms.log_pz)).mean(0)
    torch.testing.assert_close(ELBO()(terms, beta(weight)), expected, **TOLERANCE)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
def test_beta_weighs_the_analytic_kl_term_and_nothing_else(weight):
    terms = gaussian_terms(samples=5)
    mean, log_variance = terms.posterior.mean, terms.posterior.variance.log()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
    value = ELBO(kl="analytic")(terms, beta(weight))
    torch.testing.assert_close(value, terms.log_px.mean(0) - weight * kl, **TOLERANCE)


def test_at_beta_one_it_is_the_mean_log_weight():
    terms = made_up_terms(samples=5)
    value = ELBO(samples=5)(terms, beta(1.0))
    assert value.shape == (4,)
    torch.testing.assert_close(value, terms.log_weight.mean(0), **TOLERANCE)


@pytest.mark.parametrize("kl", ["sampled", "analytic"])
def test_k_samples_average_k_estimates_of_one_sample(kl):
    terms = gaussian_terms(samples=5)
    objective = ELBO(kl=kl)
    single = []
    for k in range(5):
        fields = ("log_px", "log_pz", "log_base", "log_det", "z")
        one = {name: getattr(terms, name)[k : k + 1] for name in fields}
        alone = Terms(**one, posterior=terms.posterior, prior=terms.prior)
        single.append(objective(alone, beta(0.7)))
    assert torch.stack(single).std(0).min() > 1e-3
    together = objective(terms, beta(0.7))
    torch.testing.assert_close(together, torch.stack(single).mean(0), **TOLERANCE)


def test_analytic_and_sampled_kl_agree_within_four_standard_errors():
    samples = 100_000
    terms = gaussian_terms(samples)
    # Without log p(x|z), the objective at β = 1 is −KL.
    terms = Terms(**{**vars(terms), "log_px": torch.zeros_like(terms.log_px)})
    sampled, analytic = (-ELBO(kl=kl)(terms, beta(1.0)) for kl in ("sampled", "analytic"))
    error = (terms.log_qz - terms.log_pz).std(0) / samples**0.5
    assert (analytic > 0.5).all()
    assert ((sampled - analytic).abs() < 4 * error).all()
    assert error.max() < 0.02


def test_the_analytic_kl_of_a_flow_is_unknown():
    with pytest.raises(ConfigError, match=r"use --objective\.kl sampled"):
        ELBO(kl="analytic")(gaussian_terms(5, flow=True), beta(1.0))


@pytest.mark.parametrize("final", [0.5, 1.0, 4.0])
def test_the_weight_rises_linearly_from_zero_and_stays(final):
    objective = ELBO(beta=final, warmup=8.0)
    weights = [objective.weight(epoch) for epoch in (0, 0.01, 2, 4, 7.99, 8, 8.01, 100)]
    shares = [0, 0.00125, 0.25, 0.5, 0.99875, 1, 1, 1]
    assert weights == pytest.approx([final * share for share in shares])


@pytest.mark.parametrize("final", [0.0, 1.0, 4.0])
def test_without_warmup_the_weight_is_final_from_the_first_step(final):
    objective = ELBO(beta=final)
    assert [objective.weight(epoch) for epoch in (0.0, 0.5, 10.0)] == [final] * 3


def test_an_objective_tells_its_samples_and_its_warmup():
    objective = ELBO(samples=7, warmup=3.0)
    assert (objective.samples, objective.warmup) == (7, 3.0)


def test_an_objective_of_ones_own_has_weight_one():
    class Mine(Objective):
        def __call__(self, terms, beta):
            return terms.log_px.mean(0)

    assert Mine().weight(0.0) == 1.0
    assert (Mine().samples, Mine().warmup) == (1, 0.0)


def test_gradients_reach_the_kl_term_through_the_draw():
    mean = torch.tensor([[1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    q = DiagonalNormal(mean, torch.zeros_like(mean))
    prior = DiagonalNormal(torch.zeros(2).double(), torch.zeros(2).double())
    sample = draw(q, (6,))
    terms = Terms(
        log_px=torch.zeros(6, 1, dtype=torch.float64),
        log_pz=prior.log_prob(sample.z),
        log_base=sample.log_base,
        log_det=sample.log_det,
        z=sample.z,
        posterior=q,
        prior=prior,
    )
    (grad,) = torch.autograd.grad(ELBO()(terms, beta(0.5)).sum(), mean)
    # log q(z) does not move with the mean; −β ∂(½z²) does, through z = mean + ε.
    torch.testing.assert_close(grad, -0.5 * sample.z.detach().mean(0), **TOLERANCE)
