"""A model that starts at the mean of the data."""

import math

import pytest
import torch

from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as MLPDecoder
from vaeflow.parts.encoders.mlp import MLP as MLPEncoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.categorical import Categorical
from vaeflow.parts.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vaeflow.parts.likelihoods.discretized_logistic import DiscretizedLogistic
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.likelihoods.negative_binomial import NegativeBinomial
from vaeflow.parts.likelihoods.poisson import Poisson
from vaeflow.parts.likelihoods.student_t import StudentT
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal

SHAPE, L, FEATURES = (1, 2, 3), 3, 5


def model(likelihood):
    return VAE(
        MLPEncoder(SHAPE, hidden=(FEATURES,)),
        Identity(L, FEATURES),
        Normal(L, SHAPE),
        MLPDecoder(L, likelihood.output_shape, hidden=(7,)),
        likelihood,
    )


LINKS = {
    "bernoulli": (lambda: Bernoulli(SHAPE), 0.003, 0.9),
    "continuous-bernoulli": (lambda: ContinuousBernoulli(SHAPE), 0.15, 0.8),
    "gaussian": (lambda: Gaussian(SHAPE), -300.0, 200.0),
    "gaussian of pixels": (lambda: Gaussian(SHAPE, scale="pixel", link="sigmoid"), 0.003, 0.9),
    "student-t": (lambda: StudentT(SHAPE), -3.0, 200.0),
    "logistic": (lambda: DiscretizedLogistic(SHAPE, s=0.01), 0.1, 0.9),
    "poisson": (lambda: Poisson(SHAPE), 0.004, 300.0),
    "negative-binomial": (lambda: NegativeBinomial(SHAPE), 0.004, 300.0),
}


@pytest.mark.parametrize("name", LINKS)
def test_model_starts_at_the_mean_of_the_data(name):
    make, low, high = LINKS[name]
    likelihood = make()
    mean = torch.linspace(low, high, math.prod(SHAPE)).view(SHAPE)
    x = torch.stack([mean - 0.001, mean + 0.001])
    vae = model(likelihood)
    vae.start_at_mean(x)
    with torch.no_grad():
        vae.decoder.layers[-1].weight.zero_()
        seen = vae.generate(torch.randn(1, 1, L)).mean[0, 0]
    torch.testing.assert_close(seen, mean, rtol=1e-3, atol=2e-3)


def test_constant_pixels_start_at_a_finite_logit():
    vae = model(Bernoulli(SHAPE))
    vae.start_at_mean(torch.zeros(3, *SHAPE))
    torch.testing.assert_close(vae.decoder.layers[-1].bias, torch.full((6,), -7.0))


def test_likelihood_without_a_location_is_refused():
    with pytest.raises(ConfigError, match="no output of the likelihood Categorical has the mean"):
        model(Categorical(SHAPE, levels=5)).start_at_mean(torch.full((2, *SHAPE), 0.9))
