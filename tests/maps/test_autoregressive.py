"""Gated autoregressive maps against autograd's Jacobian, and their inverse."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian
from torch.func import functional_call

from vaeflow.maps.autoregressive import AutoregressiveMap
from vaeflow.maps.univariate import Gate
from vaeflow.nn.masked import MADE, Hidden

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


def gated(latent, *, features=FEATURES, steps=3, width=32, depth=1, scale=1.0, seed=0):
    """Return float64 networks of gated maps whose weights are `scale` times their start."""
    torch.manual_seed(100 * seed + latent)
    hidden = Hidden(width, depth, "elu")
    nets = nn.ModuleList(MADE(latent, features, hidden, outputs=2) for _ in range(steps)).double()
    with torch.no_grad():
        for p in nets.parameters():
            p.mul_(scale)
    return nets


def maps_of(nets, h):
    """Return the maps for features h (B, F), each but the first after a reversal."""
    return [AutoregressiveMap(net, Gate(), h, flip=i > 0) for i, net in enumerate(nets)]


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def through(maps, z):
    """Apply the maps in turn; z (*, B, L) -> (z, Σ log|det|)."""
    total = 0
    for f in maps:
        z, log_det = f(z)
        total = total + log_det
    return z, total


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(2))
def test_log_det_is_that_of_the_jacobian(latent, depth, scale, seed):
    nets = gated(latent, depth=depth, scale=scale, seed=seed)
    maps = maps_of(nets, noise(3, FEATURES, seed=seed))
    z = noise(3, latent, seed=seed + 10)
    _, log_det = through(maps, z)
    full = jacobian(lambda x: through(maps, x)[0], z, vectorize=True)  # (B, L, B, L)
    expected = torch.linalg.slogdet(torch.stack([full[i, :, i] for i in range(3)])).logabsdet
    assert expected.abs().min() > 0.01
    torch.testing.assert_close(log_det, expected, **TOLERANCE)
    # No image sees another's z.
    for i, j in ((0, 1), (1, 0), (2, 0)):
        assert full[i, :, j].count_nonzero() == 0


@pytest.mark.parametrize("latent", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(3))
def test_log_det_of_saturated_maps(latent, seed):
    # At x10 gates go down to e^-60, which slogdet's elimination would lose: map by map the
    # Jacobian is triangular, and its determinant the product of its diagonal.
    nets = gated(latent, scale=10.0, seed=seed)
    z = noise(1, latent, seed=seed + 10)
    smallest = 0.0
    for f in maps_of(nets, noise(1, FEATURES, seed=seed)):
        j = jacobian(lambda x, f=f: f(x)[0], z)[0, :, 0]
        if f.flip:
            j = j.flip(-1)
        assert j.triu(1).count_nonzero() == 0
        expected = j.diagonal().log()
        torch.testing.assert_close(f(z)[1][0], expected.sum(), **TOLERANCE)
        smallest = min(smallest, expected.min().item())
    assert smallest < -4  # a gate below 0.02


def textbook(net, h, z):
    """One gated autoregressive map, output by output, from the network's raw weights.

    Degrees and masks as in Germain et al. 2015, eqs. 8-9, with degree 0 for the context alone.
    """
    latent, width = z.shape[-1], net.first.weight.shape[0]
    degrees = [j % latent for j in range(width)]
    hidden = []
    for j in range(width):
        a = net.first.bias[j] + (net.context.weight[j] * h).sum(-1)
        for i in range(1, latent + 1):
            if i <= degrees[j]:
                a = a + net.first.weight[j, i - 1] * z[..., i - 1]
        hidden.append(F.elu(a))
    for layer in net.middle:
        hidden = [
            F.elu(
                layer.bias[j]
                + sum(
                    layer.weight[j, k] * hidden[k] for k in range(width) if degrees[k] <= degrees[j]
                )
            )
            for j in range(width)
        ]
    y, log_det = [], torch.zeros_like(z[..., 0])
    for i in range(1, latent + 1):
        mean, s = (
            net.last.bias[o]
            + sum(net.last.weight[o, k] * hidden[k] for k in range(width) if degrees[k] < i)
            for o in (i - 1, latent + i - 1)
        )
        gate = 1 / (1 + torch.exp(-(s + 2)))
        y.append(gate * z[..., i - 1] + (1 - gate) * mean)
        log_det = log_det + torch.log(gate)
    return torch.stack(y, -1), log_det


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("latent", [1, 3])
def test_network_equals_a_plain_loop(latent, depth):
    nets = gated(latent, width=7, depth=depth, scale=3.0)
    h, z0 = noise(2, FEATURES), noise(5, 2, latent, seed=1)
    with torch.no_grad():
        z, log_det = through(maps_of(nets, h), z0)
        expected_z, expected_log_det = z0, 0
        for i, net in enumerate(nets):
            if i:
                expected_z = expected_z[..., list(reversed(range(latent)))]
            expected_z, term = textbook(net, h, expected_z)
            expected_log_det = expected_log_det + term
    torch.testing.assert_close(z, expected_z, **TOLERANCE)
    torch.testing.assert_close(log_det, expected_log_det, **TOLERANCE)


@pytest.mark.parametrize("flip", [False, True])
def test_map_passes_gradcheck(flip):
    (net,) = gated(3, steps=1, width=5, depth=2, scale=2.0)
    names = [name for name, _ in net.named_parameters()]

    class Applied(torch.nn.Module):
        """The map as a module, so that functional_call can hand it the weights."""

        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, z, h):
            return AutoregressiveMap(self.net, Gate(), h, flip=flip)(z)

    applied = Applied()

    def call(z, h, *weights):
        given = {f"net.{name}": w for name, w in zip(names, weights, strict=True)}
        return functional_call(applied, given, (z, h))

    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    inputs = (noise(2, 2, 3).requires_grad_(), noise(2, FEATURES).requires_grad_(), *weights)
    assert gradcheck(call, inputs)


@torch.no_grad()
def integral(f):
    """Integrate N(f(x); 0, I) |det ∂f/∂x| over the plane: 1 if and only if f is a bijection."""
    ticks = torch.linspace(-12, 12, 401, dtype=torch.float64)
    z, log_det = f(torch.cartesian_prod(ticks, ticks)[:, None])
    log_density = -0.5 * (z * z).sum(-1) - math.log(2 * math.pi) + log_det
    return log_density.exp().sum().item() * (24 / 400) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_stack_is_a_bijection_of_the_plane(seed):
    maps = maps_of(gated(2, steps=2, width=8, scale=1.2, seed=seed), noise(1, FEATURES, seed=seed))
    assert integral(lambda z: through(maps, z)) == pytest.approx(1, abs=1e-6)


def test_integral_rejects_a_wrong_sign():
    maps = maps_of(gated(2, steps=2, width=8, scale=1.2), noise(1, FEATURES))

    def flipped(z):
        z, log_det = through(maps, z)
        return z, -log_det

    assert abs(integral(flipped) - 1) > 0.01


@pytest.mark.parametrize("features", [FEATURES, 0])
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_inverse_undoes_the_maps(latent, features):
    nets = gated(latent, steps=4, scale=2.0, features=features)
    maps, z0 = maps_of(nets, noise(3, FEATURES)), noise(7, 3, latent, seed=1)
    z, log_det = through(maps, z0)
    back, again = z, 0
    for f in reversed(maps):
        back, term = f.inverse(back)
        again = again + term
    torch.testing.assert_close(back, z0, **TOLERANCE)
    torch.testing.assert_close(again, log_det, **TOLERANCE)
