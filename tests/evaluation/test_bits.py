"""Bits per dimension, which a density of plain grey values has not."""

import math

import pytest
import torch
from torch.distributions import Distribution, constraints

from vaeflow.evaluation import evaluate
from vaeflow.model import VAE
from vaeflow.parts.abstract import Likelihood
from vaeflow.parts.decoders.mlp import MLP as MLPDecoder
from vaeflow.parts.encoders.mlp import MLP as MLPEncoder
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal

SHAPE, L, FEATURES = (1, 2, 3), 3, 5


class Known(Likelihood):
    """log p(x|z) is 3 whatever x and z are."""

    def __init__(self, support):
        super().__init__(SHAPE)
        self.support = support

    def forward(self, output):
        class Three(Distribution):
            def log_prob(self, x):
                return torch.full(output.shape[:2], 3.0)

        return Three(output.shape[:2], torch.Size(SHAPE), validate_args=False)


@pytest.mark.parametrize(
    ("support", "dequantized", "bits"),
    [
        (constraints.boolean, None, -3 / (6 * math.log(2))),
        (constraints.nonnegative_integer, None, -3 / (6 * math.log(2))),
        (constraints.unit_interval, 256, -3 / (6 * math.log(2)) + 8),
        (constraints.real, 4, -3 / (6 * math.log(2)) + 2),
        (constraints.real, None, None),
        (constraints.unit_interval, None, None),
    ],
)
def test_bits_per_dimension_belong_to_a_probability_of_levels(support, dequantized, bits):
    model = VAE(
        MLPEncoder(SHAPE, hidden=(FEATURES,)),
        Identity(L, FEATURES),
        Normal(L, SHAPE),
        MLPDecoder(L, SHAPE, hidden=(7,)),
        Known(support),
    )
    with torch.no_grad():  # q = p, so that the NLL is −3
        model.posterior.head.weight.zero_()
        model.posterior.head.bias.zero_()
    seen = evaluate(model, torch.zeros(4, *SHAPE), samples=2, proposal="q", dequantized=dequantized)
    seen = seen.bits_per_dimension
    assert seen is None if bits is None else seen.mean == pytest.approx(bits, rel=1e-6)


def test_the_bits_of_a_dequantized_density_bound_the_bits_of_its_levels():
    """A density that is constant over each level's share has exactly the bits of its masses."""
    masses = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    density = 4 * masses  # on [k/4, (k + 1)/4)
    nll = -(masses * density.log()).sum()
    entropy = -(masses * masses.log2()).sum()
    assert (nll / math.log(2) + math.log2(4)).item() == pytest.approx(entropy.item())
