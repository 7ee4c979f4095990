"""Every check of a prior can fail: right priors, and priors with one mistake each."""

import math

import pytest
import torch
from altered_parts import (
    Altered,
    distribution,
    forward,
    once_in,
    with_gain,
    with_gradient,
    with_parameter,
)
from right_priors import RIGHT, Apart, Elliptic, Full, Learned, Mixture
from torch.distributions import Independent, Normal

from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.parts.abstract import Prior
from vaeflow.testing import check, checks


def scored(part, method):
    """The part whose log-densities are `method(right one, z)`."""
    return distribution(part, log_prob=method)


def plus(excess):
    """A log-density too large by `excess(L, p)`."""
    return lambda p, z: p.log_prob(z) + excess(p.event_shape[0])


def drawn(part, method):
    """The part whose draws are `method(right draws)`."""
    return distribution(part, sample=lambda p, shape=(): method(p.sample(torch.Size(shape))))


def clamped(p, shape=()):
    normal = p.base_dist
    noise = torch.randn(*shape, *normal.loc.shape, dtype=normal.loc.dtype).clamp(-2.5, 2.5)
    return (normal.loc + normal.scale * noise).detach()


def narrow(self, limit):
    """The learned Gaussian with its log-scale clamped."""
    scale = self.s.clamp(-limit, limit).exp()
    return Independent(Normal(self.loc, scale, validate_args=False), 1, validate_args=False)


def equal_weights(f, self, infer):
    p = f(infer)
    return Altered(p, sample=lambda shape=(): changed_weights(p).sample(shape))


def changed_weights(p):
    weights = torch.distributions.Categorical(
        logits=torch.zeros_like(p.mixture_distribution.logits)
    )
    return torch.distributions.MixtureSameFamily(weights, p.component_distribution)


def seeded(p, shape=()):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return p.sample(shape)


def half(p, shape=()):
    return p.mean + p.stddev * torch.randn(*shape, *p.mean.shape).half().to(p.mean)


def in_pairs(p, shape=()):
    """Draws whose dimensions have the noise of their neighbours."""
    noise = torch.randn(*shape, *p.mean.shape, dtype=p.mean.dtype)
    return p.mean + p.stddev * torch.where(
        torch.arange(noise.shape[-1]) % 2 > 0, noise.roll(1, -1), noise
    )


def mirrored(z):
    """Every other draw is the one before it, mirrored."""
    if z.dim() > 1:
        z = z.clone()
        z[1::2] = -z[: 2 * (len(z) // 2) : 2]
    return z


def with_half(p):
    p.df = p.df / 2
    return p


class TogetherWrong(Prior):
    """Its density is too large where both options differ from their defaults."""

    def __init__(self, latent, data_shape, *, wide: bool = False, moved: bool = False):
        super().__init__(latent, data_shape)
        self.register_buffer("loc", torch.full((latent,), float(moved)))
        self.scale, self.error = 1.5 if wide else 1.0, 0.3 * (wide and moved)

    def forward(self, infer):
        p = Independent(Normal(self.loc, self.scale), 1)
        return Altered(p, log_prob=lambda z: p.log_prob(z) + self.error)


BUGS = [
    ("wrong for two options together", "keeps_its_density_for_options_together", TogetherWrong),
    # is_a_density_over_the_latent_space
    ("weights that do not add up", "is_a_density_over_the_latent_space",
     scored(Mixture, plus(lambda size: math.log(3)))),
    ("a density too large by a hundredth of a nat", "is_a_density_over_the_latent_space",
     scored(Full, plus(lambda size: 0.01))),
    ("a constant for more than three dimensions", "is_a_density_over_the_latent_space",
     scored(Learned, plus(lambda size: 1e-3 * (size > 3)))),
    ("a constant in seventeen dimensions", "is_a_density_over_the_latent_space",
     scored(Learned, plus(lambda size: 1e-3 * (size == 17)))),
    ("a density held beyond 4 sigma", "is_a_density_over_the_latent_space",
     scored(Learned, lambda p, z: p.log_prob(
         z.clamp(p.mean - 4 * p.stddev, p.mean + 4 * p.stddev)))),
    ("a batch of one", "is_a_density_over_the_latent_space",
     forward(Learned, lambda f, self, infer: f(infer).expand((1,)))),
    # draws_follow_the_density
    ("draws of another density", "draws_follow_the_density", drawn(Mixture, lambda z: 1.2 * z)),
    ("draws of twice the variance", "draws_follow_the_density",
     drawn(Learned, lambda z: math.sqrt(2) * z)),
    ("draws of twice the variance in ten dimensions or more", "draws_follow_the_density",
     drawn(Mixture, lambda z: z * (math.sqrt(2) if z.shape[-1] >= 10 else 1))),
    ("a constant of dependent dimensions, from four on", "draws_follow_the_density",
     scored(Full, plus(lambda size: 0.3 * (size > 3)))),
    ("half of the degrees of freedom", "draws_follow_the_density",
     forward(Elliptic, lambda f, self, infer: Altered(
         f(infer), log_prob=lambda z: with_half(f(infer)).log_prob(z)))),
    ("draws of components of equal weight", "draws_follow_the_density",
     forward(Mixture, equal_weights)),
    ("draws of one of the components", "draws_follow_the_density",
     distribution(Apart, sample=lambda p, shape=():
                  p.component_distribution.sample(shape)[..., 0, :])),
    ("draws with the dimensions in reverse", "draws_follow_the_density",
     drawn(Learned, lambda z: z.flip(-1))),
    ("wide draws in training", "draws_follow_the_density",
     forward(Full, lambda f, self, infer: Altered(
         f(infer), sample=lambda shape=(): (1 + 0.3 * self.training) * f(infer).sample(shape)))),
    ("a log-scale clamped in draws alone", "draws_follow_the_density",
     forward(Learned, lambda f, self, infer: Altered(f(infer), sample=narrow(self, 10).sample))),
    ("noise clamped at 2.5", "draws_follow_the_density", distribution(Learned, sample=clamped)),
    ("draws without their covariance", "draws_follow_the_density",
     forward(Full, lambda f, self, infer: Altered(
         f(infer), sample=Independent(Normal(f(infer).mean, f(infer).stddev), 1).sample))),
    ("a constant of dependent dimensions, seven alone", "draws_follow_the_density",
     scored(Full, plus(lambda size: 0.5 * (size == 7)))),
    ("a single draw is the mean", "draws_follow_the_density",
     distribution(Learned, sample=lambda p, shape=(): p.sample(shape) if shape else p.mean)),
    ("noise of half precision", "draws_follow_the_density", distribution(Learned, sample=half)),
    # repeats_its_draws_with_the_seed
    ("dimensions that share their noise", "repeats_its_draws_with_the_seed",
     distribution(Learned, sample=in_pairs)),
    ("one draw for all", "repeats_its_draws_with_the_seed",
     distribution(Mixture, sample=lambda p, shape=(): p.sample().expand(*shape, -1))),
    ("the same draws at every call", "repeats_its_draws_with_the_seed",
     distribution(Learned, sample=seeded)),
    ("draws in mirrored pairs", "repeats_its_draws_with_the_seed", drawn(Learned, mirrored)),
    # gradients_match_slopes
    ("a gradient smaller by a tenth", "gradients_match_slopes",
     scored(Learned, lambda p, z: p.log_prob(with_gradient(z, lambda g, z: 0.9 * g)))),
    ("a gradient clipped far out", "gradients_match_slopes",
     scored(Mixture, lambda p, z: p.log_prob(with_gradient(z, lambda g, z: g * (z.abs() < 10))))),
    ("no number where z is 0", "gradients_match_slopes",
     scored(Learned, lambda p, z: p.log_prob(z.square().sqrt() * z.sign()))),
    ("a scale that is detached", "gradients_match_slopes",
     forward(Learned, lambda f, self, infer: Independent(Normal(
         self.loc, (self.s.detach() + 0.1 * (self.s - self.s.detach())).exp()), 1))),
    # the rest
    ("a parameter never used", "passes_gradients_to_every_parameter", with_parameter(Mixture)),
    ("densities out of the logarithm", "stays_finite_far_out",
     scored(Mixture, lambda p, z: p.log_prob(z).exp().log())),
    ("digits lost in float32", "agrees_in_float32",
     scored(Learned, lambda p, z: p.log_prob(z) + 1e6 - 1e6)),
    ("another density in training", "is_the_same_in_training",
     forward(Learned, lambda f, self, infer: Altered(
         f(infer), log_prob=lambda z: f(infer).log_prob(z) + 0.1 * self.training))),
    ("a gradient doubled in training", "is_the_same_in_training",
     forward(Learned, lambda f, self, infer: Altered(f(infer), log_prob=lambda z: f(infer).log_prob(
         with_gradient(z, lambda g, x: 2 * g) if self.training else z)))),
    ("dimensions taken for draws where B = L", "is_the_same_however_it_is_called",
     scored(Learned, lambda p, z: p.log_prob(
         z.mT if z.dim() > 1 and z.shape[-1] == z.shape[-2] > 1 else z))),
    ("wrong for batches of a hundred", "is_the_same_however_it_is_called",
     scored(Learned, lambda p, z: p.log_prob(z) + 0.1 * (z.shape[-2] > 100 if z.dim() > 1 else 0))),
    ("wrong once in a hundred calls", "is_the_same_however_it_is_called",
     scored(Learned, once_in(100, lambda p, z: p.log_prob(z), lambda p, z: p.log_prob(z) + 1e-3))),
    ("wrong without gradients", "is_the_same_however_it_is_called",
     scored(Learned, lambda p, z: p.log_prob(z) + 0.1 * (not torch.is_grad_enabled()))),
    ("memory read as if in order", "is_the_same_however_it_is_called",
     scored(Learned, lambda p, z: p.log_prob(torch.as_strided(
         z, z.shape, torch.empty(z.shape).stride(), z.storage_offset())))),
    ("random means not saved", "survives_saving_and_loading",
     with_gain(Mixture, lambda f, self, infer: DiagonalNormal(
         self.means[0] * self.gain, self.means[0]))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "part"), [bug[1:] for bug in BUGS], ids=[bug for bug, _, _ in BUGS]
)
def test_the_named_check_catches_the_bug(name, part):
    (one,) = (one for one in checks("prior") if one.name == name)
    with pytest.raises(AssertionError):
        one(part)


def test_every_check_catches_a_bug():
    assert {name for _, name, _ in BUGS} == {one.name for one in checks("prior")}


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_parts_pass(name):
    check("prior", RIGHT[name])
