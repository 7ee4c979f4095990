"""The masked autoregressive network: the dimensions that its outputs depend on."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from vaeflow.nn.masked import MADE, Hidden

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


def gated(latent, *, steps=3, width=32, depth=1, scale=1.0, seed=0):
    """Return float64 networks of gated maps whose weights are `scale` times their start."""
    torch.manual_seed(100 * seed + latent)
    hidden = Hidden(width, depth, "elu")
    nets = nn.ModuleList(MADE(latent, FEATURES, hidden, outputs=2) for _ in range(steps)).double()
    with torch.no_grad():
        for p in nets.parameters():
            p.mul_(scale)
    return nets


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("latent", [1, 2, 5, 16])
def test_network_is_autoregressive_and_dense(latent, depth):
    nets = gated(latent, depth=depth, steps=1, scale=3.0)
    (net,) = nets
    context = net.context(noise(1, FEATURES))[0]
    j = jacobian(lambda z: net(z, context), noise(latent))
    for block in j.chunk(2):  # the mean's and the gate's
        assert block.triu().count_nonzero() == 0
        lower = torch.ones(latent, latent).tril(-1).bool()
        assert block[lower].count_nonzero() == lower.sum()


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_every_output_depends_on_the_context(latent):
    (net,) = gated(latent, steps=1, scale=3.0)
    z = noise(latent)
    j = jacobian(lambda h: net(z, net.context(h)), noise(FEATURES))
    assert j.count_nonzero() == j.numel()  # (2L, F), all dense
