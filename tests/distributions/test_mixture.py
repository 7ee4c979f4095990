"""Gaussian mixtures against torch's, quadrature, finite differences and Pyro."""

import math

import pytest
import torch
from pyro.distributions import MixtureOfDiagNormals
from torch.autograd.functional import jacobian
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaeflow.distributions.draw import draw
from vaeflow.distributions.mixture import DiagonalNormalMixture, _ImplicitDraw

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def parameters(components, latent, *, batch=(), seed=0, spread=1.0):
    """Return logits (*, C), means (*, C, L) and log-variances (*, C, L)."""
    generator = torch.Generator().manual_seed(seed)
    options = {"dtype": torch.float64, "generator": generator}
    logits = torch.randn(*batch, components, **options)
    loc = spread * torch.randn(*batch, components, latent, **options)
    return logits, loc, 0.7 * torch.randn(*batch, components, latent, **options)


def leaves(*args, **options):
    return [x.requires_grad_() for x in parameters(*args, **options)]


def torchs(logits, loc, log_variance):
    normal = Independent(Normal(loc, (0.5 * log_variance).exp()), 1)
    return MixtureSameFamily(Categorical(logits=logits), normal)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=["none", "B", "two dimensions"])
@pytest.mark.parametrize(("components", "latent"), [(1, 3), (4, 1), (5, 6)])
def test_density_and_the_moments_are_torchs(components, latent, batch):
    given = parameters(components, latent, batch=batch)
    q, oracle = DiagonalNormalMixture(*given), torchs(*given)
    assert (q.batch_shape, q.event_shape) == (batch, (latent,))
    z = q.sample((7,))
    assert z.shape == (7, *batch, latent)
    torch.testing.assert_close(q.log_prob(z), oracle.log_prob(z), **TOLERANCE)
    torch.testing.assert_close(q.mean, oracle.mean, **TOLERANCE)
    torch.testing.assert_close(q.variance, oracle.variance, **TOLERANCE)


def test_density_holds_far_out_in_float32():
    q = DiagonalNormalMixture(*(x.float().requires_grad_() for x in parameters(4, 3)))
    z = torch.full((2, 3), 1e4, requires_grad=True)
    log_prob = q.log_prob(z)
    assert log_prob.isfinite().all()
    assert torch.autograd.grad(log_prob.sum(), z)[0].isfinite().all()


def test_draws_follow_the_density():
    q = DiagonalNormalMixture(*parameters(3, 2, spread=2.0))
    torch.manual_seed(0)
    z = q.sample((100_000,))
    torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(z.var(0), q.variance, rtol=0.03, atol=0)
    # Of a probability integral transform, dimension after dimension, nothing is left but uniforms.
    u = conditional_cdfs(q, z)
    counts = torch.histogramdd(u, [10, 10], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert ((counts - 1000).square() / 1000).sum() < 160  # χ² of 99 degrees, 5 standard deviations


def test_draw_has_its_density_and_repeats_with_the_seed():
    q = DiagonalNormalMixture(*parameters(4, 3, batch=(2,)))
    torch.manual_seed(3)
    sample = draw(q, (5,))
    torch.testing.assert_close(sample.log_prob, q.log_prob(sample.z), **TOLERANCE)
    assert not sample.log_det.any()
    torch.manual_seed(3)
    assert torch.equal(q.rsample((5,)), sample.z)
    assert not torch.equal(q.rsample((5,)), sample.z)


# Implicit derivatives


def conditional_cdfs(q, z):
    """Return F(z_i | z_1 … z_{i−1}), (*, L), word for word."""
    scale = q.log_scale.exp()
    cdfs, weights = [], q.log_weights.exp()
    for i in range(z.shape[-1]):
        each = Normal(q.loc[..., i], scale[..., i])
        x = z[..., i, None]
        cdfs.append((weights * each.cdf(x)).sum(-1))
        weights = weights * each.log_prob(x).exp()
        weights = weights / weights.sum(-1, keepdim=True)
    return torch.stack(cdfs, -1)


@pytest.mark.parametrize(("components", "latent"), [(1, 3), (3, 1), (3, 2), (5, 4)])
def test_derivative_of_a_draw_keeps_its_cdfs(components, latent):
    given = leaves(components, latent)
    torch.manual_seed(1)
    z = DiagonalNormalMixture(*given).rsample()
    weights = torch.randn(latent, dtype=torch.float64)
    seen = torch.autograd.grad((weights * z).sum(), given)
    # ∂z/∂θ = −(∂F/∂z)⁻¹ ∂F/∂θ
    at = z.detach()
    in_z = jacobian(lambda z: conditional_cdfs(DiagonalNormalMixture(*given), z), at)
    moved = -torch.linalg.solve(in_z.T, weights)
    cdfs = conditional_cdfs(DiagonalNormalMixture(*given), at)
    for a, b in zip(seen, torch.autograd.grad((moved * cdfs).sum(), given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_one_component_has_a_gaussians_gradient():
    given = leaves(1, 3, batch=(2,))
    loc = given[1]
    z = DiagonalNormalMixture(*given).rsample((4,))
    d_logits, d_loc, d_log_variance = torch.autograd.grad(z.sum(), given)
    torch.testing.assert_close(d_logits, torch.zeros_like(d_logits), **TOLERANCE)
    torch.testing.assert_close(d_loc, torch.full_like(loc, 4.0), **TOLERANCE)
    wanted = 0.5 * (z[..., None, :] - loc).sum(0).detach()
    torch.testing.assert_close(d_log_variance, wanted, **TOLERANCE)


def objective(z):
    """A function of z whose mean depends on every parameter."""
    return torch.sin(z).sum(-1) + z.prod(-1) + 0.3 * z.square().sum(-1)


def gradients_by_quadrature(given):
    """Return the gradient of E[f(z)] in the plane, by the trapezoidal rule."""
    ticks = torch.linspace(-12, 12, 481, dtype=torch.float64)
    z = torch.cartesian_prod(ticks, ticks)
    density = torchs(*given).log_prob(z).exp()
    return torch.autograd.grad((density * objective(z)).sum() * 0.05**2, given)


def gradients_by_draws(q, given, n, repeats=20):
    """Return the mean gradient of E[f(z)] over n draws, and its standard error."""
    parts = []
    for _ in range(repeats):
        mean = objective(q().rsample((n // repeats,))).mean()
        parts.append(torch.cat([g.flatten() for g in torch.autograd.grad(mean, given)]))
    stacked = torch.stack(parts)
    return stacked.mean(0), stacked.std(0) / math.sqrt(repeats)


@pytest.mark.parametrize("seed", range(3))
def test_pathwise_gradients_are_unbiased(seed):
    given = leaves(3, 2, seed=seed)
    wanted = torch.cat([g.flatten() for g in gradients_by_quadrature(given)])
    torch.manual_seed(seed)
    mean, error = gradients_by_draws(lambda: DiagonalNormalMixture(*given), given, 200_000)
    assert (error < 0.05).all()
    assert ((mean - wanted).abs() < 5 * error + 1e-6).all()
    assert (wanted.abs() > 10 * error).sum() > 10  # most of them say something


def test_pathwise_gradients_equal_pyros():
    given = leaves(3, 2, seed=5)

    def pyros():
        logits, loc, log_variance = given
        return MixtureOfDiagNormals(loc, (0.5 * log_variance).exp(), logits)

    torch.manual_seed(0)
    ours, our_error = gradients_by_draws(lambda: DiagonalNormalMixture(*given), given, 100_000)
    theirs, their_error = gradients_by_draws(pyros, given, 100_000)
    # Pyro 1.9's gradients in the logits are off by 40 %, compared to quadrature.
    off = (ours - theirs).abs()[3:]
    assert (off < 5 * torch.hypot(our_error, their_error)[3:]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_derivatives_in_both_tails(sign):
    logits, loc, log_variance = parameters(3, 2)
    given = (logits.log_softmax(-1), loc, 0.5 * log_variance)
    # 1 − Φ(6) = 1e−9 is lost beside 1 in float32.
    z = (loc + 6 * sign * (0.5 * log_variance).exp()).float()
    found = []
    for dtype in (torch.float64, torch.float32):
        own = [x.float().to(dtype).requires_grad_() for x in given]
        moved = _ImplicitDraw.apply(z.to(dtype), *own)
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(moved.sum(), own)]))
    wide, narrow = found
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-4)


def test_large_parameters_are_finite_in_float32():
    torch.manual_seed(0)
    logits = 10 * torch.randn(50, 6)
    loc, log_variance = 10 * torch.randn(2, 50, 6, 5)
    given = [x.requires_grad_() for x in (logits, loc, log_variance)]
    sample = draw(DiagonalNormalMixture(*given), (20,))
    for value in (sample.z, sample.log_prob):
        assert value.isfinite().all()
        for gradient in torch.autograd.grad(value.sum(), given, retain_graph=True):
            assert gradient.isfinite().all()


def test_half_precision_ends_at_the_parameters():
    q = DiagonalNormalMixture(*(x.bfloat16() for x in parameters(3, 2)))
    sample = draw(q, (4,))
    assert sample.z.dtype == sample.log_prob.dtype == torch.float32


@pytest.mark.parametrize("apart", [1e2, 1e3, 1e4, 1e5])
def test_gradients_of_distant_components(apart):
    slopes = {}
    for dtype in (torch.float32, torch.float64):
        logits = torch.zeros(2, dtype=dtype, requires_grad=True)
        loc = torch.tensor([[0.0, 0.0], [0.5, apart]], dtype=dtype)
        q = DiagonalNormalMixture(logits, loc, torch.zeros(2, 2, dtype=dtype))
        z = torch.tensor([[1.25, 0.25]], dtype=dtype)
        moved = _ImplicitDraw.apply(z, q.log_weights, q.loc, q.log_scale)
        moved[..., 1].sum().backward()
        slopes[dtype] = logits.grad.double()
    torch.testing.assert_close(slopes[torch.float32], slopes[torch.float64], rtol=1e-5, atol=0)


def test_expansion_is_the_same_law():
    q = DiagonalNormalMixture(*parameters(4, 2, batch=(3,)))
    wide, z = q.expand((5, 3)), q.sample((5,))
    assert (wide.batch_shape, wide.sample().shape) == ((5, 3), (5, 3, 2))
    torch.testing.assert_close(wide.log_prob(z), q.log_prob(z), **TOLERANCE)
