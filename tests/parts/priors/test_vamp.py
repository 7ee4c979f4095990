"""The VampPrior, against the mixture written out."""

import math

import pytest
import torch
from torch.distributions import Distribution, MultivariateNormal

from vaeflow.distributions.draw import draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.vamp import Vamp

SHAPE, L = (1, 2, 2), 2


def infer(x):
    """Return N(the first two pixels, the others' squares)."""
    flat = x.flatten(1)
    return DiagonalNormal(flat[:, :L], flat[:, L:].square().log())


def test_density_is_the_mean_of_the_posteriors():
    prior = Vamp(L, SHAPE, components=3, inputs="real").double()
    z = torch.randn(5, 4, L, dtype=torch.float64)
    total = 0.0
    for u in prior.raw.flatten(1):
        part = MultivariateNormal(u[:L], torch.diag(u[L:].square()))
        total = total + part.log_prob(z).exp() / 3
    torch.testing.assert_close(prior(infer).log_prob(z), total.log())


@pytest.mark.parametrize(("inputs", "low", "high"), [("unit", 0.0, 1.0), ("real", -99.0, 99.0)])
def test_its_inputs_are_in_the_range_of_the_data(inputs, low, high):
    prior = Vamp(L, SHAPE, components=50, inputs=inputs)
    with torch.no_grad():
        prior.raw.mul_(10)
    seen = []
    prior(lambda x: seen.append(x) or infer(x))
    assert seen[0].shape == (50, *SHAPE)
    assert low <= seen[0].min() < 0.1
    assert 0.9 < seen[0].max() <= high
    assert (seen[0].min() < 0) == (inputs == "real")


def test_draws_come_from_every_posterior():
    prior = Vamp(L, SHAPE, components=4, inputs="real").double()
    with torch.no_grad():  # far apart, and narrow
        prior.raw[:, 0, 0] = 100 * torch.arange(4.0)[:, None]
        prior.raw[:, 0, 1] = 0.1
    torch.manual_seed(0)
    z = prior(infer).sample((4000,))
    assert z.shape == (4000, L)
    counts = torch.bincount((z[:, 0] / 100).round().long(), minlength=4)
    assert (counts - 1000).abs().max() < 4 * math.sqrt(4000 * 0.25 * 0.75)
    assert (z - 100 * (z / 100).round()).std().item() == pytest.approx(0.1, rel=0.05)


def model(posterior, components=5):
    torch.manual_seed(0)
    return VAE(
        Encoder(SHAPE, hidden=(8,)),
        posterior,
        Vamp(L, SHAPE, components=components),
        Decoder(L, SHAPE, hidden=(8,)),
        Bernoulli(SHAPE),
    )


@pytest.mark.parametrize("make", [Identity, Planar])
def test_prior_at_the_data_is_the_mean_posterior(make):
    """The aggregate posterior is the best prior: KL(mean of q ‖ p) = 0."""
    vae = model(make(L, 8)).double()
    x = torch.rand(5, *SHAPE, dtype=torch.float64)
    with torch.no_grad():
        vae.prior.raw.copy_(torch.logit(x))
    sample = draw(vae.infer(x), (200,))
    q = vae.infer(x)
    every = sample.z[..., None, :].expand(-1, -1, 5, -1)
    wanted = torch.logsumexp(q.log_prob(every), -1) - math.log(5)
    torch.testing.assert_close(vae.latent_prior().log_prob(sample.z), wanted)


def test_gradient_reaches_inputs_and_encoder():
    vae = model(Planar(L, 8, steps=2))
    value = ELBO()(vae(torch.ones(3, *SHAPE)), torch.ones(())).mean()
    value.backward()
    assert vae.prior.raw.grad.abs().min() > 0
    assert vae.encoder.layers[0].weight.grad.abs().sum() > 0


class Pyroclastic(Distribution):
    """A distribution that knows its own draws alone, as Pyro's planar flow does."""

    def log_prob(self, z):
        raise KeyError(z)


@pytest.mark.parametrize("kind", ["no inverse", "a cache"])
def test_posterior_that_scores_only_its_draws_is_refused(kind, one_sentence):
    class Shift:
        def __call__(self, z):
            return z + 1, z.new_zeros(z.shape[:-1])

    def infer(x):
        n = len(x)
        if kind == "a cache":
            return Pyroclastic(torch.Size([n]), torch.Size([L]), validate_args=False)
        return Flow(DiagonalNormal(torch.zeros(n, L), torch.zeros(n, L)), [Shift()])

    with pytest.raises(ConfigError, match="--prior vamp scores every z") as caught:
        Vamp(L, SHAPE)(infer).log_prob(torch.zeros(1, 1, L))
    one_sentence(str(caught.value))
