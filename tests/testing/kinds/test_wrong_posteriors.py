"""Posteriors that are wrong in one place only, and the check that must find the place."""

import math
from typing import Literal

import pytest
import torch
from made_flows import (
    base,
    bend,
    constrained,
    planar,
    posterior,
    right,
    wrong,
)
from pydantic import NonNegativeInt
from torch import nn
from torch.distributions import (
    Gumbel,
    Independent,
    Laplace,
    Normal,
    SigmoidTransform,
    StudentT,
    TransformedDistribution,
    Uniform,
)

from vaeflow.distributions.draw import Draw, OnePass
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.parts.abstract import Posterior
from vaeflow.testing import check, checks

CHECKS = {one.name: one for one in checks("posterior")}


def off(when):
    """The right flow, off by a tenth of a nat for the draws z0 (*, L) of which `when` is true."""
    return wrong(lambda log_det, z0, s: log_det + 0.1 * torch.as_tensor(when(z0)).float())


def clamped(bound):
    """A log-variance that is clamped in z and not in log q."""

    def make(q, eps):
        scale = (2 * q.log_scale).clamp(-bound, bound).mul(0.5).exp()
        return q.loc + scale * eps, q._score(eps)

    return base(make)


class Spoiled(torch.autograd.Function):
    """The identity, with a gradient that is wrong far out or not a number at 0."""

    @staticmethod
    def forward(ctx, u, how):
        ctx.save_for_backward(u)
        ctx.how = how
        return u.clone()

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        if ctx.how == "far":
            return torch.where(u.abs() > 3, 1.1, 1.0) * grad, None
        return torch.where(u == 0, torch.nan, 1.0) * grad, None


def spoiled_noise(how):
    """The features' way into z, with a wrong gradient where |s ε| is large, or where ε is 0."""

    def make(q, eps):
        shift = Spoiled.apply((q.loc - q.loc.detach()) + eps, how) - eps
        return q.loc.detach() + shift + q.base_dist.scale * eps, q._score(eps)

    return base(make)


class Stepwise(posterior()):
    """Right but for some numbers of maps, or for two options together."""

    wrong_steps = ()
    together = False

    def __init__(
        self,
        latent,
        features,
        *,
        steps: NonNegativeInt = 4,
        gate: Literal["tanh", "exp"] = "tanh",
        flip: bool = False,
    ):
        super().__init__(latent, features)
        self.steps, self.both = steps, gate == "exp" and flip

    def forward(self, h):
        q = super().forward(h)
        error = 0.1 * (self.steps in self.wrong_steps or (self.together and self.both))
        shift = [lambda z: (z, torch.full_like(z[..., 0], error))]
        return Flow(q.base, [bend] * self.steps + shift)


def stepwise(*steps, together=False):
    return type("Part", (Stepwise,), {"wrong_steps": steps, "together": together})


def _beyond(q, z):
    return ((z - q.loc) / q.base_dist.scale).abs().gt(4).sum(-1)


class LogProbFarOut(posterior(maps=lambda s, t: [])):
    def forward(self, h):
        q = super().forward(h).base
        right = q.log_prob
        q.log_prob = lambda z: (
            right(z) - 0.01 * ((z - q.loc) / q.base_dist.scale).abs().gt(4).sum(-1)
        )
        return q


class WrongScore(posterior()):
    def forward(self, h):
        q = super().forward(h)
        right = q.grad_log_prob
        q.grad_log_prob = lambda sample: 1.1 * right(sample)
        return q


class Telling:
    """A map of two bends that tells its log-determinants apart, one of them wrongly."""

    def __call__(self, z):
        (z, first), (z, second) = bend(z), bend(bend(z)[0])
        return z, first + second

    def log_dets(self, z):
        moved, first = bend(z)
        return bend(moved)[0], torch.stack([first, first], -1)


class BesideDropout(posterior()):
    def __init__(self, latent, features, *, share: float = 0.5):
        super().__init__(latent, features)
        self.dropout = nn.Dropout(0.5)
        self.error = 0.0 if type(self) is BesideDropout else 0.1

    def forward(self, h):
        q = super().forward(self.dropout(h))
        error = self.error * self.training
        return Flow(q.base, [*q.maps, lambda z: (z, torch.full_like(z[..., 0], error))])


class WrongBesideDropout(BesideDropout):
    pass


class NowAndThen(posterior()):
    calls = 0

    def forward(self, h):
        q = super().forward(h)
        type(self).calls += 1
        error = 0.1 * (self.calls % 100 == 99)
        return Flow(q.base, [*q.maps, lambda z: (z, torch.full_like(z[..., 0], error))])


class WhereFeaturesVanish(posterior()):
    def forward(self, h):
        q = super().forward(h)
        error = 0.1 * (h == 0).all(-1)
        return Flow(q.base, [*q.maps, lambda z: (z, error.expand(z.shape[:-1]))])


class WithoutGradients(posterior()):
    def forward(self, h):
        q = super().forward(h)
        error = 0.0 if torch.is_grad_enabled() else 0.1
        return Flow(q.base, [*q.maps, lambda z: (z, torch.full_like(z[..., 0], error))])


def of(law, maps=lambda s, t: []):
    """A posterior whose base is `law(location, scale)`, pushed through maps."""

    class Part(posterior()):
        def forward(self, h):
            loc, log_variance, s, t = at_least_float32(self.head(h)).chunk(4, -1)
            return Flow(law(loc, (0.5 * log_variance.tanh()).exp()), maps(s, t))

    return Part


def student_t(loc, scale):
    return Independent(StudentT(torch.full_like(loc, 5.0), loc, scale), 1)


class UnitScale(Posterior):
    """N(μ(h), I): log q of a draw does not depend on the features."""

    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.loc = nn.Linear(features, latent)

    def forward(self, h):
        loc = at_least_float32(self.loc(h))
        return Independent(Normal(loc, torch.ones_like(loc)), 1)


class NoLogGradient(UnitScale):
    def forward(self, h):
        loc = at_least_float32(self.loc(h))
        return DiagonalNormal(loc, torch.zeros_like(loc))


class TooLikely(StudentT):
    """Off by 0.7 nats for each dimension."""

    def log_prob(self, value):
        return super().log_prob(value) + 0.7


class TooWide(StudentT):
    """Drawn with twice the scale that it is scored with."""

    def rsample(self, sample_shape=()):
        return self.loc + 2 * (super().rsample(sample_shape) - self.loc)


class HalfMoved(StudentT):
    """Its draws follow the location by half."""

    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape) - 0.5 * (self.loc - self.loc.detach())


class Detached(StudentT):
    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape).detach()


class OneScale(Independent):
    """A multivariate t, scored as if its dimensions were independent."""

    def __init__(self, loc, scale):
        super().__init__(StudentT(torch.full_like(loc, 5.0), loc, scale), 1)

    def rsample(self, sample_shape=()):
        t, shape = self.base_dist, (*sample_shape, *self.batch_shape, 1)
        chi2 = torch._standard_gamma(torch.full(shape, 2.5, dtype=t.loc.dtype)) * 2
        noise = torch.randn(*shape[:-1], t.loc.shape[-1], dtype=t.loc.dtype)
        return t.loc + t.scale * noise * (5 / chi2).sqrt()


class Correlated(Independent):
    """Drawn with a correlation of the first two dimensions that the density does not have."""

    def rsample(self, sample_shape=()):
        z = super().rsample(sample_shape)
        if z.shape[-1] < 2:
            return z
        loc, scale = self.base_dist.loc, self.base_dist.scale
        u = (z - loc) / scale
        mixed = torch.stack([u[..., 0], 0.6 * u[..., 0] + 0.8 * u[..., 1], *u.unbind(-1)[2:]], -1)
        return loc + scale * mixed


def student(kind, joint=Independent):
    return of(lambda loc, scale: joint(kind(torch.full_like(loc, 5.0), loc, scale), 1))


class OffFromTwo(Independent):
    def log_prob(self, value):
        return super().log_prob(value) + 0.2 * (value.shape[-1] > 1)


class Counting(posterior()):
    """Its scale cools with the steps of training, which it counts in a plain number."""

    steps = 0

    def forward(self, h):
        self.steps += self.training
        q = super().forward(h)
        cooled = 1 / (1 + 1e-3 * self.steps)
        log_det = q.event_shape[0] * math.log(cooled)
        return Flow(q.base, [*q.maps, lambda z: (cooled * z, z.new_full(z.shape[:-1], log_det))])


class PairsFolded(posterior()):
    """Two dimensions of 30 are folded: no determinant changes its sign."""

    def forward(self, h):
        q = super().forward(h)

        def fold(z):
            return torch.cat([z[..., :2].abs(), z[..., 2:]], -1), 0 * z[..., 0]

        return Flow(q.base, [*q.maps, fold] if self.latent == 30 else q.maps)


class DropoutsApart(BesideDropout):
    """z and log q each draw a dropout of their own."""

    def forward(self, h):
        first, second = (posterior().forward(self, self.dropout(h)) for _ in range(2))
        (f, g), base = (first.maps[1], second.maps[1]), first.base
        return Flow(base, [lambda z: (f(z)[0], g(z)[1])])


EVERY_SIZE = "log_q_matches_at_every_size"
JACOBIAN = "log_q_matches_the_jacobian"
TOGETHER = "log_q_matches_for_options_together"
SLOPES = "gradients_match_finite_differences"
FAULTS = {
    "wrong for 17 to 32 dimensions": (off(lambda z: 17 <= z.shape[-1] <= 32), EVERY_SIZE),
    "wrong for 10 dimensions": (off(lambda z: z.shape[-1] == 10), EVERY_SIZE),
    "wrong from 34 dimensions on": (off(lambda z: z.shape[-1] >= 34), EVERY_SIZE),
    "wrong for 64 dimensions": (off(lambda z: z.shape[-1] == 64), EVERY_SIZE),
    "wrong for batches of 100 and more": (
        off(lambda z: z.dim() > 1 and z.shape[-2] >= 100), "is_the_same_for_any_number"
    ),
    "wrong for 500 samples": (
        off(lambda z: z.dim() == 3 and z.shape[0] >= 500), "is_the_same_for_any_number"
    ),
    "wrong where all features are 0": (WhereFeaturesVanish, JACOBIAN),
    "digits that cancel in float32": (planar(constrained), "keeps_its_digits_where_it_contracts"),
    "a log-variance clamped at ±10 in z alone": (clamped(10), JACOBIAN),
    "a log-variance clamped at ±20 in z alone": (clamped(20), JACOBIAN),
    "noise clamped at ±3": (
        base(lambda q, e: (q.loc + q.base_dist.scale * e.clamp(-3, 3), q._score(e))), JACOBIAN
    ),
    "a gradient wrong for noise beyond 3": (spoiled_noise("far"), SLOPES),
    "a gradient that is no number at noise 0": (spoiled_noise("zero"), SLOPES),
    "wrong with 2 maps": (stepwise(2), TOGETHER),
    "wrong with 3 maps": (stepwise(3), TOGETHER),
    "wrong with 8 maps and more": (stepwise(*range(8, 100)), TOGETHER),
    "wrong for two options together": (stepwise(together=True), TOGETHER),
    "log_prob wrong beyond 4σ": (LogProbFarOut, "scores_its_draws_from_outside"),
    "a slope of log q of its own": (WrongScore, "slope_of_log_q_is_its_own"),
    "log_dets of its own": (
        posterior(maps=lambda s, t: [Telling()]), "log_dets_of_its_maps_add_up"
    ),
    "wrong in training beside a dropout": (
        WrongBesideDropout, "log_q_matches_the_jacobian_in_training"
    ),
    "wrong for |z0| beyond 8": (off(lambda z: z.abs().amax(-1) > 8), JACOBIAN),
    "wrong for 50 dimensions": (off(lambda z: z.shape[-1] == 50), EVERY_SIZE),
    "wrong for 200 dimensions": (off(lambda z: z.shape[-1] == 200), EVERY_SIZE),
    "wrong from 1,001 samples on": (
        off(lambda z: z.dim() == 3 and z.shape[0] > 1000), "is_the_same_for_any_number"
    ),
    "wrong above a million numbers": (
        off(lambda z: z.numel() > 1_000_000), "is_the_same_for_any_number"
    ),
    "a gradient wrong from 30 dimensions on": (
        wrong(lambda log_det, z, s: log_det.detach() if z.shape[-1] > 30 else log_det),
        "gradients_match_for_many",
    ),
    "summed in half precision": (
        wrong(lambda d, z, s: d.bfloat16().to(d) if d.dtype == torch.float32
              and z.shape[-1] >= 40 else d),
        "agrees_in_float32_in_many_dimensions",
    ),
    "a count of steps that is not saved": (Counting, "survives_a_resume"),
    "folded in two dimensions of 30": (PairsFolded, "no_z_has_two_noises"),
    "a dropout for z and one for log q": (
        DropoutsApart, "log_q_matches_the_jacobian_in_training"
    ),
    "wrong once in a hundred calls": (NowAndThen, "is_the_same_at_every_call"),
    "wrong without gradients": (WithoutGradients, "is_the_same_without_gradients"),
    "a Student-t off by 0.7 nats a dimension": (student(TooLikely), "noise_follows_its_density"),
    "a Student-t off from two dimensions on": (
        of(lambda loc, scale: OffFromTwo(StudentT(torch.full_like(loc, 5.0), loc, scale), 1)),
        "noise_follows_its_density_in_many_dimensions",
    ),
    "a Student-t drawn too wide": (student(TooWide), "noise_follows_its_density"),
    "a Student-t with correlated draws": (
        student(StudentT, Correlated), "noise_follows_its_density_in_many_dimensions"
    ),
    "a Student-t whose draws have no gradient": (
        student(Detached), "gradients_of_its_noise_are_those_of_its_law"
    ),
    "a Student-t with one scale for all dimensions": (
        of(OneScale), "noise_follows_its_density_in_many_dimensions"
    ),
    "a Student-t whose draws follow by half": (
        student(HalfMoved), "gradients_of_its_noise_are_those_of_its_law"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_named_check_finds_the_fault(fault):
    part, name = FAULTS[fault]
    with pytest.raises(AssertionError):
        CHECKS[name](part)


def test_only_its_own_faults_fail_the_parts_above():
    """The parts without their fault pass, so that it is the fault that is found."""
    check("posterior", stepwise())
    check("posterior", BesideDropout)


def logit_of_uniform(loc, scale):
    u = Independent(Uniform(torch.zeros_like(loc), torch.ones_like(loc)), 1)
    t = torch.distributions.AffineTransform(loc, scale, event_dim=1)
    return TransformedDistribution(u, [SigmoidTransform().inv, t])


def bounded(s, t):
    def f(z):
        u = torch.tanh(z)
        # log(3 (1 − tanh²)) by softplus, as the difference cancels far out.
        slope = 2 * (math.log(2) - z - nn.functional.softplus(-2 * z)) + math.log(3)
        return 3 * u, slope.sum(-1)

    return [f]


def positive(s, t):
    return [lambda z: (z.exp(), z.sum(-1))]


class MixtureOfFlows(posterior()):
    """A component is drawn; log q is that of all components."""

    def forward(self, h):
        loc, log_variance, _, t = at_least_float32(self.head(h)).chunk(4, -1)
        return TwoFlows(loc, log_variance.tanh(), t)


class TwoFlows(OnePass):
    support = torch.distributions.constraints.real_vector
    has_rsample = True

    def __init__(self, loc, log_variance, t):
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)
        self.parts = [DiagonalNormal(loc, log_variance), DiagonalNormal(t, 0 * log_variance)]

    def draw(self, shape=()):
        zs = torch.stack([q.draw(shape).z for q in self.parts])
        pick = torch.randint(2, zs.shape[1:-1])[..., None]
        z = torch.where(pick == 0, zs[0], zs[1])
        log_q = self.log_prob(z)
        return Draw(z, log_q, torch.zeros_like(log_q))

    def rsample(self, sample_shape=()):
        return self.draw(sample_shape).z

    def log_prob(self, value):
        return torch.stack([q.log_prob(value) for q in self.parts]).logsumexp(0) - math.log(2)


RIGHT = {
    "a unit scale": UnitScale,
    "a unit scale, drawn and scored at once": NoLogGradient,
    "bounded by 3 tanh": posterior(maps=bounded),
    "positive by exp": posterior(maps=positive),
    "Student-t": of(student_t),
    "Student-t through maps": of(student_t, right),
    "Laplace": of(lambda loc, scale: Independent(Laplace(loc, scale), 1)),
    "Gumbel through maps": of(lambda loc, scale: Independent(Gumbel(loc, scale), 1), right),
    "uniform through a logit": of(logit_of_uniform),
    "a mixture of flows": MixtureOfFlows,
}


@pytest.mark.parametrize("part", RIGHT)
def test_the_right_parts_pass(part):
    check("posterior", RIGHT[part])


def test_every_check_catches_a_fault():
    from tests.testing.kinds.test_posteriors import BUGS

    found = {name for _, name in (*FAULTS.values(), *BUGS.values())}
    assert found == set(CHECKS) - {"agrees_on_cuda"}  # which needs a device
