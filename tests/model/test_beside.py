"""What comes beside x: gaps and covariates, on a linear-Gaussian model where log p is known.

p(z) = N(0, I), p(x|z, a) = N(Wz + c + va, σ²I) with a covariate a: the law of the observed values
is N(c + va, WWᵀ + σ²I) at their rows and columns, and the posterior given them is normal.
"""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from vaeflow.data.columns import Column, Columns
from vaeflow.data.examples import Examples
from vaeflow.diagnosis.calibration import calibrate
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation import evaluate
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Encoder, Posterior
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.priors.normal import Normal
from vaeflow.parts.priors.vamp import Vamp

D, L, N = 5, 2, 40
SIGMA = 0.6
AGE = Columns((Column("age", "number", center=40.0, spread=10.0),))


class Flatten(Encoder):
    def __init__(self, size):
        super().__init__((size,))
        self.features = size

    def forward(self, x):
        return x


class Affine(Decoder):
    """(z, a) -> Wz + va + c."""

    def __init__(self, latent):
        super().__init__(latent, (D,))
        generator = torch.Generator().manual_seed(0)
        w = torch.randn(L + 1, D, dtype=torch.float64, generator=generator)
        self.w = torch.nn.Parameter(0.8 * w[:latent].T)
        self.c = torch.nn.Parameter(torch.linspace(-1, 1, D, dtype=torch.float64))

    def forward(self, z):
        return z @ self.w.T + self.c


class Exact(Posterior):
    """The posterior given the observed values, from features (zeros for gaps, mask, covariate)."""

    def __init__(self, decoder, features, *, masked):
        super().__init__(L, features)
        self.decoder, self.masked = decoder, masked

    def forward(self, h):
        x, rest = h[:, :D], h[:, D:]
        mask, a = (rest[:, :D], rest[:, D:]) if self.masked else (torch.ones_like(x), rest)
        w, v = self.decoder.w.detach().split([L, self.decoder.latent - L], 1)
        residual = mask * (x - self.decoder.c.detach() - a @ v.T)
        precision = (
            torch.eye(L, dtype=h.dtype) + torch.einsum("dk,nd,dl->nkl", w, mask, w) / SIGMA**2
        )
        covariance = torch.linalg.inv(precision)
        mean = torch.einsum("nkl,nl->nk", covariance, residual @ w) / SIGMA**2
        return MultivariateNormal(mean, covariance)


def model(*, missing=False, covariates=None, prior=Normal):
    more = len(covariates or ())
    decoder, encoder = Affine(L + more), Flatten(2 * D if missing else D)
    posterior = Exact(decoder, encoder.features + more, masked=missing)
    return VAE(
        encoder, posterior, prior(L, (encoder.features,)), decoder, Gaussian((D,), sigma=SIGMA),
        missing=missing, covariates=covariates,
    ).double()  # fmt: skip


def data(*, gaps):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, D, dtype=torch.float64, generator=generator)
    return torch.where(torch.rand(N, D, generator=generator) < gaps, torch.nan, x)


def log_px(vae, x, a):
    """Return log p of the observed values, (N,)."""
    w, v = vae.decoder.w.detach().split([L, vae.decoder.latent - L], 1)
    covariance = w @ w.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
    mean = vae.decoder.c.detach() + a @ v.T
    found = []
    for row, center in zip(x, mean, strict=True):
        seen = (~row.isnan()).nonzero()[:, 0]
        if not len(seen):
            found.append(torch.zeros((), dtype=torch.float64))
            continue
        law = MultivariateNormal(center[seen], covariance[seen][:, seen])
        found.append(law.log_prob(row[seen]))
    return torch.stack(found)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("proposal", ["q", "laplace"])
def test_the_bound_under_the_exact_posterior_is_log_p_of_what_was_observed(
    missing, conditional, proposal
):
    vae = model(missing=missing, covariates=AGE if conditional else None)
    x, age = data(gaps=0.4 if missing else 0.0), np.linspace(10.0, 80.0, N)
    examples = vae.examples(x, {"age": age} if conditional else None)
    a = torch.from_numpy((age - 40) / 10)[:, None] if conditional else torch.zeros(N, 0)
    found = evaluate(vae, examples, samples=3, proposal=proposal)
    truth = log_px(vae, x, a.double())
    assert missing == bool((truth == 0).any() or x.isnan().any())
    tolerance = 1e-9 if proposal == "q" else 0.02
    assert -found.nll.mean == pytest.approx(truth.mean().item(), abs=tolerance)
    assert found.elbo.mean == pytest.approx(truth.mean().item(), abs=1e-6)


def test_what_stands_in_a_gap_changes_neither_a_bound_nor_a_gradient():
    vae, x = model(missing=True), data(gaps=0.4)
    vae.train()
    terms = vae(x, 4)
    (-terms.log_weight.mean()).backward()
    gradients = [p.grad for p in vae.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)
    expected = torch.where(x.isnan(), 0.0, vae.generate(terms.z).base_dist.log_prob(x))
    torch.testing.assert_close(terms.log_px, expected.sum(-1))


def test_without_gaps_a_masked_model_scores_as_one_without_a_mask():
    x = data(gaps=0.0)
    masked, plain = model(missing=True), model()
    z = torch.randn(3, N, L, dtype=torch.float64)
    torch.testing.assert_close(masked.log_px(z, x), plain.log_px(z, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(masked.infer(x).mean, plain.infer(x).mean)


def test_the_squared_error_is_that_of_observed_values():
    vae, x = model(missing=True), data(gaps=0.4)
    full = evaluate(vae, x, samples=2).squared_error
    none = evaluate(vae, torch.full_like(x, torch.nan), samples=2).squared_error
    assert full.mean > 0
    assert none.mean == 0


def test_simulated_data_has_the_gaps_and_covariates_of_data():
    vae = model(missing=True, covariates=AGE)
    examples = vae.examples(data(gaps=0.3), {"age": np.linspace(0, 90, N)})
    found = calibrate(vae, images=400, samples=19, bins=10, like=examples)
    assert found.p_value.min() > 1e-3  # the posterior is exact
    vae.posterior.masked = False  # and not if its mask is ignored
    vae.posterior.forward = lambda h: Exact.forward(vae.posterior, h[:, [*range(D), -1]])
    assert calibrate(vae, images=400, samples=19, bins=10, like=examples).p_value.min() < 1e-3


def test_a_mixture_of_posteriors_is_a_prior_beside_covariates():
    vae = model(covariates=AGE, prior=Vamp)
    at = torch.full((7, D), 0.3, dtype=torch.float64)
    middle = vae.infer(Examples(at, torch.zeros(7, 1, dtype=torch.float64)))
    torch.testing.assert_close(vae.infer_scaled(at).mean, middle.mean)
    examples = vae.examples(data(gaps=0), {"age": 30})
    assert evaluate(vae, examples, samples=2).nll.mean > 0


# Draws from a model with covariates


def test_samples_take_a_covariate_each_or_one_for_all():
    vae = model(covariates=AGE)
    ages = np.linspace(0.0, 90.0, 2000)
    torch.manual_seed(0)
    each = vae.sample(2000, condition={"age": ages})
    torch.manual_seed(0)
    young = vae.sample(2000, condition={"age": 0})
    torch.manual_seed(0)
    old = vae.sample(2000, condition={"age": [90.0]})
    v = vae.decoder.w.detach()[:, L]
    torch.testing.assert_close(old - young, (9 * v).expand(2000, D))
    torch.testing.assert_close(each[0], young[0])
    torch.testing.assert_close(each[-1], old[-1])
    torch.testing.assert_close(each[1000] - young[1000], v * ages[1000] / 10)


def test_codes_and_reconstructions_take_covariates():
    vae, x = model(covariates=AGE), data(gaps=0)
    at_40 = vae.encode(x, condition={"age": 40})
    torch.testing.assert_close(at_40, model().encode(x))
    assert not torch.allclose(at_40, vae.encode(x, condition={"age": 20}))
    assert vae.reconstruct(x, condition={"age": np.full(N, 40)}).shape == (N, D)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (
            {},
            "conditioned on 'age', which is not given: give values such as age=40, by --condition",
        ),
        ({"agg": 3}, "not conditioned on 'agg' (did you mean 'age'?)"),
        ({"age": "old"}, "age=old: 'age' is a number, such as age=1.5"),
        ({"age": [1, 2, 3]}, "the covariates have 3 values for 4 samples"),
        ({"age": np.nan}, "'age' is missing, but the model is conditioned on it"),
    ],
)
def test_a_wrong_covariate_is_refused_by_name(condition, told):
    with pytest.raises(DataError) as error:
        model(covariates=AGE).sample(4, condition=condition)
    assert told in str(error.value)


def test_a_model_without_covariates_refuses_one():
    with pytest.raises(DataError, match="it was trained without --condition"):
        model().sample(4, condition={"age": 3})


def test_data_without_the_covariates_of_the_model_is_refused():
    vae = model(covariates=AGE)
    for call in (vae.infer, lambda x: evaluate(vae, x)):
        with pytest.raises(DataError, match=r"conditioned on age.* has no covariates: give model"):
            call(data(gaps=0))
    with pytest.raises(DataError, match="have 3 values, but x 40 examples"):
        vae.examples(data(gaps=0), {"age": [1, 2, 3]})


def test_parts_that_leave_no_room_for_covariates_are_refused():
    decoder, encoder = Affine(L), Flatten(D)
    with pytest.raises(ConfigError, match="features is 6, but the posterior's is 5"):
        VAE(
            encoder, Exact(decoder, D, masked=False), Normal(L, (D,)), decoder, Gaussian((D,)),
            covariates=AGE,
        )  # fmt: skip
