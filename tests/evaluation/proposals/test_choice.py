"""The proposal that parts allow: all built-in ones the fitted one, others q with a reason."""

import itertools

import pytest
import torch

import vaeflow
from vaeflow.errors import ConfigError
from vaeflow.evaluation import evaluate
from vaeflow.evaluation.proposals.choice import Choice, choose
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.parts.abstract import Decoder
from vaeflow.plugins import builtins

SHAPE = (1, 4, 4)
SMALL = {"encoder": ("mlp", {"hidden": [6]}), "decoder": ("mlp", {"hidden": [6]})}
ROUGH = Precision(tolerance=0.5, largest=200)


def names(kind):
    found = {}
    getattr(builtins, f"vaeflow_register_{kind}s")(found.__setitem__)
    return sorted(found)


def images(model, count=3):
    """Draw images of a model, which its likelihood can score."""
    torch.manual_seed(0)
    return model.sample(count, mean=False)


class Broken(Decoder):
    """A decoder through which no gradient reaches z."""

    def __init__(self, whole, way):
        super().__init__(whole.latent, whole.output_shape)
        self.whole, self.way = whole, way

    def forward(self, z):
        if self.way == "detach":
            return self.whole(z.detach())
        if self.way == "no_grad":
            with torch.no_grad():
                return self.whole(z)
        weight = torch.ones(self.latent, 16).numpy()
        return torch.from_numpy(z.numpy() @ weight).unflatten(-1, self.output_shape)


@pytest.mark.parametrize("kind", ["laplace", "mixture"])
@pytest.mark.parametrize("way", ["detach", "no_grad", "numpy"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_decoder_without_gradients_is_measured_under_q(way, kind, likelihood):
    model = vaeflow.build(SHAPE, latent=2, likelihood=likelihood, **SMALL)
    x = images(model)
    if likelihood == "gaussian":
        model.likelihood.requires_grad_(True)  # of its own parameters z learns nothing
    model.decoder = Broken(model.decoder, way)
    choice = choose(model, x, kind)
    assert choice.kind == "q"
    assert choice.reason
    assert "\n" not in choice.reason
    found = evaluate(model, x, samples=50, proposal=kind)
    assert (found.proposal, found.fell_back) == ("q", choice.reason)
    assert found.nll == found.under_q
    told = next(f for f in found.findings if f.kind == "proposal-fell-back")
    assert choice.reason in str(told)


def test_mixture_with_a_posterior_that_scores_its_own_draws_alone_is_refused():
    pytest.importorskip("vaeflow_sylvester")  # its maps have no inverse; all built-in ones have
    model = vaeflow.build(SHAPE, latent=2, posterior="sylvester", **SMALL)
    x = images(model)
    with pytest.raises(ConfigError, match=r"--proposal mixture: .* use --proposal laplace$"):
        evaluate(model, x, samples=10, proposal="mixture")
    cured = evaluate(model, x, samples=10, proposal="laplace", precision=ROUGH)
    assert (cured.proposal, cured.fell_back) == ("laplace", "")


@pytest.mark.parametrize("posterior", names("posterior"))
def test_every_posterior_allows_the_fitted_proposal_and_the_mixture(posterior):
    model = vaeflow.build(SHAPE, latent=2, posterior=posterior, **SMALL)
    x = images(model)
    assert choose(model, x, "q") == Choice("q")
    assert choose(model, x, "laplace") == Choice("laplace")
    assert choose(model, x, "mixture") == Choice("mixture")
    found = evaluate(model, x, samples=20, proposal="mixture", precision=ROUGH)
    assert found.proposal == "mixture"
    assert torch.tensor(found.nll.mean).isfinite()


@pytest.mark.parametrize(
    ("prior", "likelihood"), list(itertools.product(names("prior"), names("likelihood")))
)
def test_every_prior_and_likelihood_allows_the_fitted_proposal(prior, likelihood):
    model = vaeflow.build(SHAPE, latent=2, prior=prior, likelihood=likelihood, **SMALL)
    x = images(model)
    found = evaluate(model, x, samples=20, precision=ROUGH)
    assert (found.proposal, found.fell_back) == ("laplace", "")
    for bound in (found.elbo, found.nll, found.under_q):
        assert torch.tensor(bound.mean).isfinite()
    slack = 5 * ((found.nll.monte_carlo_error or 0) + (found.under_q.monte_carlo_error or 0))
    assert found.nll.mean < found.under_q.mean + slack + 0.1
    assert found.draws.mean <= 200


def test_a_convolutional_decoder_with_a_large_latent():
    model = vaeflow.build(
        (1, 8, 8), latent=64, encoder=("mlp", {"hidden": [16]}), decoder=("conv", {"channels": [4]})
    )
    x = images(model)
    found = evaluate(model, x, samples=200, precision=Precision(0.1, 1000))
    assert (found.proposal, found.fell_back) == ("laplace", "")
    assert found.nll.mean < found.under_q.mean + 0.1
    assert found.draws.error < 0.1


def test_the_choice_leaves_the_generator_and_the_model_as_they_were():
    model = vaeflow.build(SHAPE, latent=2, **SMALL)
    x = images(model)
    model.train()
    state = torch.get_rng_state()
    choose(model, x, "mixture")
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
