"""A small VAE for binary images, its data, and a short training."""

import torch

from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.training.fit import fit

SHAPE = (1, 4, 4)


def model(posterior=Identity, likelihood=None, **options):
    torch.manual_seed(0)
    likelihood = likelihood or Bernoulli(SHAPE)
    return VAE(
        Encoder(SHAPE, hidden=(16,)),
        posterior(3, 16, **options),
        Normal(3, SHAPE),
        Decoder(3, likelihood.output_shape, hidden=(16,)),
        likelihood,
    )


def images(n, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def run(vae=None, n=50, **settings):
    settings = {"epochs": 2, "batch_size": 20, "device": "cpu", **settings}
    return fit(vae or model(), images(n), images(20, 1), binarization="dynamic", **settings)
