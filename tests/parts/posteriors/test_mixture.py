"""The Gaussian-mixture posterior, and the laws of the kit on its law drawn from given noise.

The posterior draws components, so that the kit hands it draws in place of noise. Here a twin draws
the same q as a function of one normal per dimension, by inverting its conditional CDFs, and is
moved by the same implicit derivatives: of the twin the kit can take the Jacobian.
"""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.special import ndtr

from vaeflow.distributions.draw import draw
from vaeflow.distributions.mixture import DiagonalNormalMixture, _ImplicitDraw
from vaeflow.parts.posteriors.mixture import Mixture
from vaeflow.testing import checks

FEATURES = 4


def scattered(latent, **options):
    torch.manual_seed(latent)
    posterior = Mixture(latent, FEATURES, **options).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_()
    return posterior


def features(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, FEATURES, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("amortize", ["full", "none"])
def test_density_equals_torchs_mixture(amortize):
    posterior, h = scattered(3, components=2, amortize=amortize), features(5)
    loc, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    flat = posterior.mixture.bias.expand(5, -1)
    if amortize == "full":
        flat = flat + h / FEATURES**0.5 @ posterior.mixture.weight.T
    logits, offset, narrowing = flat[:, :2], flat[:, 2:8], flat[:, 8:]
    scale = (0.5 * log_variance).exp()[:, None]
    means = loc[:, None] + scale * offset.reshape(5, 2, 3)
    scales = scale * (0.5 * narrowing.reshape(5, 2, 3)).exp()
    oracle = MixtureSameFamily(Categorical(logits=logits), Independent(Normal(means, scales), 1))
    z = oracle.sample((7,))
    torch.testing.assert_close(posterior(h).log_prob(z), oracle.log_prob(z), rtol=0, atol=1e-9)


def test_start_is_near_the_diagonal_gaussian():
    torch.manual_seed(0)
    posterior, h = Mixture(3, FEATURES).double(), features(5)
    q = posterior(h)
    gaussian = posterior.head(h)
    sample = draw(gaussian, (5000,))
    kl = (sample.log_prob - q.log_prob(sample.z)).mean(0)
    assert (kl < 0.1).all()
    assert (q.loc.std(-2) > 1e-3).all()
    # One component has nowhere to be but at the Gaussian itself.
    posterior = Mixture(3, FEATURES, components=1).double()
    gaussian = posterior.head(h)
    torch.testing.assert_close(posterior(h).log_prob(sample.z), gaussian.log_prob(sample.z))


def test_parameters_are_shared_only_where_asked():
    h = features(6)
    for amortize, shared in (("full", False), ("none", True)):
        q = scattered(3, amortize=amortize)(h)
        weights = q.log_weights
        assert torch.allclose(weights, weights[:1].expand_as(weights)) == shared


def test_it_finds_two_modes():
    torch.manual_seed(0)
    posterior, h = Mixture(1, 1, components=2), torch.ones(1, 1)
    two = MixtureSameFamily(
        Categorical(torch.tensor([0.3, 0.7])), Normal(torch.tensor([-2.0, 2.0]), torch.ones(2))
    )
    optimizer = torch.optim.Adam(posterior.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        sample = draw(posterior(h), (200,))
        (sample.log_prob - two.log_prob(sample.z.squeeze(-1))).mean().backward()
        optimizer.step()
    with torch.no_grad():
        sample = draw(posterior(h), (20_000,))
        kl = (sample.log_prob - two.log_prob(sample.z.squeeze(-1))).mean()
    assert kl < 0.01


# The twin


class Rosenblatt(torch.autograd.Function):
    """z of noise ε, F(z_i | z_1 … z_{i−1}) = Φ(ε_i): forward by bisection, backward by ∂F."""

    @staticmethod
    def forward(ctx, eps, log_weights, loc, log_scale):
        scale, z = log_scale.exp(), torch.empty_like(eps)
        weights = log_weights.expand(*eps.shape[:-1], -1)
        for i in range(eps.shape[-1]):
            m, s = loc[..., i], scale[..., i]
            # The mixture's quantile lies between those of its components.
            quantiles = m + s * eps[..., i, None]
            low, high = quantiles.amin(-1), quantiles.amax(-1)
            sign = torch.where(eps[..., i] > 0, -1.0, 1.0).to(eps)  # towards the smaller tail
            goal = ndtr(sign * eps[..., i])
            for _ in range(80):
                middle = (low + high) / 2
                tail = ndtr(sign[..., None] * (middle[..., None] - m) / s)
                under = sign * ((weights.softmax(-1) * tail).sum(-1) - goal) < 0
                low, high = torch.where(under, middle, low), torch.where(under, high, middle)
            z[..., i] = (low + high) / 2
            x = (z[..., i, None] - m) / s
            weights = weights - 0.5 * x * x - log_scale[..., i]
        ctx.save_for_backward(eps, z, log_weights, loc, log_scale)
        return z

    @staticmethod
    def backward(ctx, grad):
        eps, z, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            own = [p.detach().requires_grad_() for p in parameters]
            from_parameters = torch.autograd.grad(_ImplicitDraw.apply(z, *own), own, grad)
            at = z.detach().requires_grad_()
            cdfs = _cdfs(at, *parameters)
            rows = [
                torch.autograd.grad(cdfs[..., i].sum(), at, retain_graph=True)[0]
                for i in range(z.shape[-1])
            ]
        # ∂z/∂ε = (∂F/∂z)⁻¹ diag φ(ε), from the right.
        solved = torch.linalg.solve(torch.stack(rows, -2).mT, grad[..., None]).squeeze(-1)
        return solved * Normal(0.0, 1.0).log_prob(eps).exp(), *from_parameters


def _cdfs(z, log_weights, loc, log_scale):
    x = (z[..., None, :] - loc) / log_scale.exp()
    log_n = -0.5 * x * x - log_scale
    before = (log_weights[..., None] + log_n.cumsum(-1) - log_n).softmax(-2)
    return (before * ndtr(x)).sum(-2)


class FromNoise(DiagonalNormalMixture):
    """The mixture, drawn by one normal for each dimension."""

    def rsample(self, sample_shape=()):
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        eps = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        parameters = self.log_weights, self.loc, self.log_scale
        return Rosenblatt.apply(eps, *parameters)


class Twin(Mixture):
    """The posterior whose q is drawn from noise that the kit can hand it."""

    tolerance = 1e-7

    def forward(self, h):
        q = super().forward(h)
        return FromNoise(q.log_weights, q.loc, 2 * q.log_scale)


LAWS = (
    "log_q_matches_the_jacobian_in_training",
    "keeps_its_orientation",
    "covers_the_plane_once",
    "weights_average_to_one",
    "stays_finite_when_saturated",
    "scores_its_draws_from_outside",
)


@pytest.mark.parametrize("law", LAWS)
def test_twin_keeps_the_law(law):
    (check,) = [c for c in checks("posterior") if c.name == law]
    check(Twin)


def test_twins_derivatives_are_those_of_its_noise():
    torch.manual_seed(0)
    eps = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    parameters = [
        torch.randn(5, dtype=torch.float64).log_softmax(0),
        torch.randn(5, 3, dtype=torch.float64),
        0.5 * torch.randn(5, 3, dtype=torch.float64),
    ]
    leaves = [p.requires_grad_() for p in parameters]
    assert torch.autograd.gradcheck(Rosenblatt.apply, (eps, *leaves), eps=1e-5, atol=1e-6)
