"""The inverse autoregressive posterior: its order, its draws, its density, and Pyro's."""

import math

import pytest
import torch
from correlated_gaussian import fitted_kl
from pyro.distributions import transforms as pyro_transforms
from pyro.nn import ConditionalAutoRegressiveNN
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian

from vaeflow.distributions.draw import draw
from vaeflow.parts.posteriors.iaf import IAF

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


@pytest.fixture
def _float64():
    """Make float64 the default: Pyro builds masks and zeros in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def iaf(latent, *, steps=3, width=32, depth=1, scale=1.0, seed=0):
    """Return a fresh float64 IAF whose weights are `scale` times their start."""
    torch.manual_seed(100 * seed + latent)
    posterior = IAF(latent, FEATURES, steps=steps, width=width, depth=depth).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.mul_(scale)
    return posterior


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


def test_order_of_dimensions_alternates():
    maps = iaf(4, steps=4)(noise(1, FEATURES)).maps
    assert [f.flip for f in maps] == [False, True, True, True]
    # A reversal before each map but the first: last dimensions come first in every second map.
    f, g = maps[:2]
    z = noise(1, 4)
    jf = jacobian(lambda x: f(x)[0], z)[0, :, 0]
    jg = jacobian(lambda x: g(f(x)[0])[0], z)[0, :, 0]
    assert jf.triu(1).count_nonzero() == 0
    assert jg.count_nonzero() == 16  # two maps in opposite orders mix everything


def pyro_iaf(net, latent):
    """Return Pyro's IAF map with the weights of one of ours."""
    width = net.first.weight.shape[0]
    nonlinearity = torch.nn.ELU()
    hidden = [width] * (1 + len(net.middle))
    theirs = ConditionalAutoRegressiveNN(
        latent, FEATURES, hidden, permutation=torch.arange(latent), nonlinearity=nonlinearity
    )
    # Pyro sorts its hidden units by degree, ours take the degrees in turn.
    order = torch.argsort(torch.arange(width) % latent, stable=True)
    with torch.no_grad():
        first, *middle, last = theirs.layers
        first.weight.copy_(torch.cat([net.context.weight, net.first.weight], 1)[order])
        first.bias.copy_(net.first.bias[order])
        for layer, own in zip(middle, net.middle, strict=True):
            layer.weight.copy_(own.weight[order][:, order])
            layer.bias.copy_(own.bias[order])
        last.weight.copy_(net.last.weight[:, order])
        last.bias.copy_(net.last.bias)
    # Their "stable" form is the gate of Kingma et al., with the same shift of 2.
    return pyro_transforms.ConditionalAffineAutoregressive(theirs, stable=True)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("latent", [2, 3, 5])
def test_flow_equals_pyros(latent, depth):
    posterior = iaf(latent, width=2 * latent, depth=depth, scale=3.0)
    h, z0 = noise(2, FEATURES), noise(5, 2, latent, seed=1)
    with torch.no_grad():
        z, log_det = through(posterior(h).maps, z0)
        expected_z, expected_log_det = z0, 0
        for i, net in enumerate(posterior.nets):
            if i:
                expected_z = expected_z.flip(-1)
            f = pyro_iaf(net, latent).condition(h)
            y = f(expected_z)
            expected_log_det = expected_log_det + f.log_abs_det_jacobian(expected_z, y)
            expected_z = y
    torch.testing.assert_close(z, expected_z, **TOLERANCE)
    torch.testing.assert_close(log_det, expected_log_det, **TOLERANCE)


@pytest.mark.parametrize("latent", [2, 5])
def test_maps_start_near_the_identity(latent):
    # The gate starts at sigmoid(2 + small) ≈ 0.88.
    _, log_det = through(iaf(latent, steps=1)(noise(6, FEATURES)).maps, noise(6, latent))
    gate = (log_det / latent).exp()
    assert ((gate > 0.75) & (gate < 0.95)).all()


def test_no_steps_are_the_diagonal_gaussian():
    posterior = iaf(3, steps=0)
    h = noise(4, FEATURES)
    sample = draw(posterior(h), (5,))
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    oracle = torch.distributions.Normal(mean, (log_variance / 2).exp())
    torch.testing.assert_close(sample.log_prob, oracle.log_prob(sample.z).sum(-1), **TOLERANCE)
    assert torch.equal(sample.log_det, torch.zeros(5, 4, dtype=torch.float64))


def test_draw_is_the_base_draw_through_the_maps():
    posterior = iaf(3, scale=3.0)
    h = noise(4, FEATURES)
    q = posterior(h)
    assert (q.batch_shape, q.event_shape) == ((4,), (3,))
    torch.manual_seed(1)
    sample = draw(q, (5,))
    torch.manual_seed(1)
    eps = torch.randn(5, 4, 3, dtype=torch.float64)
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    z0 = mean + (log_variance / 2).exp() * eps
    z, log_det = through(q.maps, z0)
    torch.testing.assert_close(sample.z, z, **TOLERANCE)
    torch.testing.assert_close(sample.log_det, log_det, **TOLERANCE)
    log_base = -0.5 * (eps**2 + log_variance + math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(sample.log_base, log_base, **TOLERANCE)


def test_each_image_has_its_own_context():
    posterior = iaf(3, scale=3.0)
    h, z0 = noise(6, FEATURES), noise(5, 6, 3)
    z, log_det = through(posterior(h).maps, z0)
    for i in range(6):
        maps = posterior(h[i : i + 1]).maps
        z_alone, log_det_alone = through(maps, z0[:, i : i + 1])
        torch.testing.assert_close(z[:, i : i + 1], z_alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_det[:, i : i + 1], log_det_alone, rtol=0, atol=1e-12)
    same_noise, _ = through(posterior(h).maps, z0[:, :1].expand(5, 6, 3))
    assert (same_noise.std(1) > 1e-3).all()


def test_saturated_maps_are_finite_in_float32():
    posterior = iaf(16, steps=8, scale=10.0).float()
    h = torch.randn(4, FEATURES)
    sample = draw(posterior(h), (5,))
    assert sample.log_det.min() < -1000  # exp of it is 0 in any dtype
    assert sample.z.isfinite().all()
    assert sample.log_prob.isfinite().all()
    (sample.z.sum() + sample.log_prob.sum()).backward()
    assert all(p.grad.isfinite().all() for p in posterior.parameters())


def test_draws_have_float32_densities_under_autocast():
    posterior = iaf(3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = draw(posterior(torch.ones(2, FEATURES)), (5,))
    assert sample.log_base.dtype == sample.log_det.dtype == torch.float32


def test_log_prob_passes_gradcheck():
    posterior, h = iaf(3, steps=2, width=8, scale=2.0), noise(2, FEATURES)
    z = (2 * noise(4, 2, 3)).requires_grad_()
    weights = list(posterior.parameters())
    assert gradcheck(lambda z, *_: posterior(h).log_prob(z), (z, *weights), fast_mode=True)


def test_images_share_maps_without_context():
    posterior = IAF(3, FEATURES, width=8, amortize="none").double()
    z = noise(1, 3).expand(6, 3)
    y, _ = through(posterior(noise(6, FEATURES)).maps, z)
    torch.testing.assert_close(y, y[:1].expand(6, 3), **TOLERANCE)


def test_weights_have_the_names_of_older_checkpoints():
    names = set(IAF(3, FEATURES, steps=1, depth=2).state_dict())
    linear = {f"nets.0.{x}.{y}" for x in ("first", "middle.0", "last") for y in ("weight", "bias")}
    assert names == {"head.weight", "head.bias", "nets.0.context.weight", *linear}


def test_fit_of_a_correlated_gaussian():
    torch.manual_seed(0)
    assert fitted_kl(IAF(2, 1, width=64)) < 0.01


def test_log_prob_out_of_range_is_a_number():
    torch.manual_seed(0)
    posterior = IAF(10, 7)
    with torch.no_grad():
        for p in posterior.parameters():
            p.add_(0.3 * torch.randn_like(p))
    q = posterior(torch.randn(4, 7))
    for scale in (1.0, 10.0, 1e3):
        z = (scale * torch.randn(50, 4, 10)).requires_grad_()
        score = q.log_prob(z)
        assert not score.isnan().any()
        assert (score < 0).all()
        # Beside a density that is not 0, as in a mixture of posteriors, it has no weight.
        mixed = torch.logaddexp(score, torch.zeros_like(score)).sum()
        parts = torch.autograd.grad(mixed, [z, *posterior.parameters()], retain_graph=True)
        assert all(torch.isfinite(g).all() for g in parts)
