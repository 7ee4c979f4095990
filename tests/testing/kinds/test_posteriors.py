"""Every check of a posterior can fail: one right flow, and flows with one mistake each."""

import pytest
import torch
from made_flows import (
    affine,
    base,
    bend,
    constrained,
    planar,
    posterior,
    right,
    scaled,
    slope,
    without_cancelling,
    wrong,
)
from pydantic import NonNegativeInt
from torch import nn
from torch.distributions import Independent, Normal

from vaeflow.distributions.draw import Draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.errors import PluginError
from vaeflow.parts.abstract import Posterior
from vaeflow.testing import check, checks

CHECKS = {one.name: one for one in checks("posterior")}


def signs(z):
    return torch.cat([-torch.ones_like(z[..., :1]), torch.ones_like(z[..., 1:])], -1) * 2


def folded(dimension):
    def fold(z):
        kept = [abs(x) if i == dimension else x for i, x in enumerate(z.unbind(-1))]
        return torch.stack(kept, -1), z.new_zeros(z.shape[:-1])

    return posterior(lambda s, t: [fold])


def double_cover(s, t):
    """Doubles the angle in the plane: onto, of one orientation, but every z is met twice."""

    def f(z):
        if z.shape[-1] == 1:
            return z, 0 * z[..., 0]
        x, y = z[..., 0], z[..., 1]
        r = (x * x + y * y).sqrt()
        doubled = torch.stack([(x * x - y * y) / r, 2 * x * y / r], -1)
        return torch.cat([doubled, z[..., 2:]], -1), torch.full_like(r, 2.0).log()

    return [f]


def shared(*dims):
    """Noise that is equal along dimensions, counted from the last: -2 images, -3 samples."""

    class Base(DiagonalNormal):
        def draw(self, shape=()):
            size = [*shape, *self.loc.shape]
            for dim in dims:
                size[dim] = 1 if len(size) >= -dim else size[dim]
            noise = torch.randn(size, dtype=self.loc.dtype).expand(*shape, *self.loc.shape)
            return Draw(
                self.loc + self.base_dist.scale * noise, self._score(noise), noise[..., 0] * 0
            )

    return posterior(base=Base)


class OwnGenerator(DiagonalNormal):
    generator = torch.Generator().manual_seed(0)

    def draw(self, shape=()):
        size = (*shape, *self.loc.shape)
        noise = torch.randn(size, dtype=self.loc.dtype, generator=self.generator)
        return Draw(self.loc + self.base_dist.scale * noise, self._score(noise), noise[..., 0] * 0)


def once(s, t):
    """The log-determinant is computed at the first draw and kept."""
    kept = []

    def whole(z):
        z, log_det = bend(z)
        kept.append(log_det)
        return z, kept[0].expand(z.shape[:-1])

    return [whole]


def reverse_scored(s, t):
    maps = right(s, t)[:2]

    def whole(z):
        moved = z
        for f in maps:
            moved, _ = f(moved)
        log_det = 0.0
        for f in reversed(maps):
            z, term = f(z)
            log_det = log_det + term
        return moved, log_det

    return [whole]


def skipped(s, t):
    def half(z):
        return z, bend(z)[1]

    return [half, affine(s, t)]


def leaking(self, h):
    m = h.mean(0)
    loc, log_variance, s, t = self.head(h + (m - m.detach())).chunk(4, -1)
    return Flow(DiagonalNormal(loc, log_variance), right(s, t))


def detached(self, h):
    loc, log_variance, s, t = self.head(h.detach()).chunk(4, -1)
    return Flow(DiagonalNormal(loc, log_variance), right(s, t))


def in_half_precision(self, h):
    loc, log_variance, *_ = self.head(h).chunk(4, -1)
    return Independent(Normal(loc, (0.5 * log_variance).exp()), 1)


def half_precision_scale(s, t):
    """Under autocast, e^s is rounded and s is not."""
    s = s / (1 + s.abs())
    return [lambda z: (s.exp() * z + t, s.float().sum(-1).expand(z.shape[:-1]).to(z.dtype))]


class Unused(posterior()):
    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.spare = nn.Parameter(torch.zeros(3))


class NotSaved(posterior()):
    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.register_buffer("turn", torch.randperm(latent), persistent=False)

    def forward(self, h):
        turn = self.turn
        q = super().forward(h)
        return Flow(q.base, [*q.maps, lambda z: (z[..., turn], z.new_zeros(z.shape[:-1]))])


class TiedWeights(posterior()):
    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.other = self.head


class NoZeroSteps(posterior()):
    def __init__(self, latent, features, *, steps: NonNegativeInt = 2):
        super().__init__(latent, features)
        self.steps = steps

    def forward(self, h):
        q = super().forward(h)
        return Flow(q.base, [bend] * max(1, self.steps))


def only_when(condition):
    class Part(posterior()):
        def forward(self, h):
            q = super().forward(h)
            drop = 0.0 if condition(self) is False else 1.0
            return Flow(q.base, [lambda z, f=f: (f(z)[0], drop * f(z)[1]) for f in q.maps])

    return Part


class HalfInverse:
    def __call__(self, z):
        return 2 * z, torch.full_like(z[..., 0], z.shape[-1] * 0.6931471805599453)

    def inverse(self, z):
        return z / 2, z.new_zeros(z.shape[:-1])


class RsampleOfBase(posterior()):
    def forward(self, h):
        q = super().forward(h)
        q.rsample = q.base.rsample
        return q


def bent_draw(q, eps):
    z = q.loc + q.base_dist.scale * eps
    return bend(z)[0], q._score(eps) - bend(z)[1]


class AnothersKL(base(bent_draw)):
    def forward(self, h):
        return super().forward(h).base


def repeating(q, eps):
    if eps.dim() == 3 and len(eps) > 8:
        eps = eps[:8].repeat(len(eps) // 8 + 1, 1, 1)[: len(eps)]
    return q.loc + q.base_dist.scale * eps, q._score(eps)


def in_chunks(z):
    if z.shape[-2] <= 16:
        return bend(z)
    parts = [bend(part) for part in z.split(16, dim=-2)]
    return torch.cat([p[0] for p in parts], -2), torch.cat([p[1] for p in parts[::-1]], -1)


chunked = posterior(lambda s, t: [in_chunks])

BUGS = {
    "sign of the log-determinant": (wrong(lambda d, z, s: -d), "log_q_matches_the_jacobian"),
    "no log-determinant": (wrong(lambda d, z, s: 0 * d), "log_q_matches_the_jacobian"),
    "log of a negative determinant": (
        scaled(signs, lambda f: f.prod(-1).log()), "log_q_matches_the_jacobian"
    ),
    "log of a clamped determinant": (
        scaled(signs, lambda f: f.prod(-1).clamp(min=1e-6).log()), "log_q_matches_the_jacobian"
    ),
    "factor L missing": (
        scaled(lambda z: torch.full_like(z, 2.0), lambda f: f[..., 0].log()),
        "log_q_matches_the_jacobian",
    ),
    "log-determinant at the output": (
        posterior(lambda s, t: [lambda z: (bend(z)[0], bend(bend(z)[0])[1])]),
        "log_q_matches_the_jacobian",
    ),
    "steps in another order": (posterior(reverse_scored), "log_q_matches_the_jacobian"),
    "a step that moves nothing": (posterior(skipped), "log_q_matches_the_jacobian"),
    "tanh' without the square": (
        wrong(lambda d, z, s: (1 + 0.5 * (1 - torch.tanh(z))).log().sum(-1)),
        "log_q_matches_the_jacobian",
    ),
    "log 2π left out": (
        base(lambda q, e: (
            q.loc + q.base_dist.scale * e, -0.5 * e.square().sum(-1) - q.log_scale.sum(-1)
        )),
        "log_q_matches_the_jacobian",
    ),
    "scale taken for variance": (
        base(lambda q, e: (q.loc + q.base_dist.scale**2 * e, q._score(e))),
        "log_q_matches_the_jacobian",
    ),
    "no constraint on û": (planar(lambda u, w: u), "keeps_its_orientation"),
    "‖w‖ for ‖w‖²": (planar(lambda u, w: constrained(u, w, 1)), "keeps_its_orientation"),
    "a double cover": (posterior(double_cover), "covers_the_plane_once"),
    "a fold": (folded(0), "covers_the_plane_once"),
    "a fold of the third dimension": (folded(2), "weights_average_to_one"),
    "one log-determinant per dimension": (
        posterior(lambda s, t: [lambda z: (bend(z)[0], slope(z).log())]),
        "returns_draws_of_the_right_shape",
    ),
    "summed over the batch": (
        wrong(lambda d, z, s: d.sum(-1, keepdim=True).expand(d.shape)),
        "treats_images_independently",
    ),
    "averaged over the batch": (
        wrong(lambda d, z, s: d.mean(-1, keepdim=True).expand(d.shape)),
        "treats_images_independently",
    ),
    "batch statistics": (
        posterior(lambda s, t: [lambda z: (z - t.mean(0), z.new_zeros(z.shape[:-1]))]),
        "treats_images_independently",
    ),
    "gradients of the batch": (posterior(forward=leaking), "passes_no_gradient_between_images"),
    "noise shared over the batch": (shared(-2), "draws_noise_for_every_sample_and_image"),
    "noise shared over the samples": (shared(-3), "draws_noise_for_every_sample_and_image"),
    "a generator of its own": (
        posterior(base=OwnGenerator), "draws_noise_for_every_sample_and_image"
    ),
    "a log-determinant kept": (posterior(once), "scores_each_draw_by_itself"),
    "samples mixed": (
        posterior(lambda s, t: [
            lambda z: (z - z.mean(0), z.new_zeros(z.shape[:-1])) if z.dim() > 2 else bend(z)
        ]),
        "scores_each_draw_by_itself",
    ),
    "log-determinant detached": (
        wrong(lambda d, z, s: d.detach()), "gradients_match_finite_differences"
    ),
    "z detached in part": (
        posterior(lambda s, t: [lambda z: (z + t.detach(), z.new_zeros(z.shape[:-1]))]),
        "gradients_match_finite_differences",
    ),
    "features detached": (posterior(forward=detached), "passes_gradients_to_everything"),
    "a parameter never used": (Unused, "passes_gradients_to_everything"),
    "overflow when saturated": (
        posterior(lambda s, t: [lambda z: (z + (1 + (8 * t).exp()).log(), 0 * z[..., 0])]),
        "stays_finite_when_saturated",
    ),
    "a gradient that is not finite": (
        posterior(lambda s, t: [lambda z: (z + torch.where(t > 0, t.sqrt(), 0.0), 0 * z[..., 0])]),
        "stays_finite_when_saturated",
    ),
    "density in half precision": (
        posterior(forward=in_half_precision), "keeps_densities_in_float32_under_autocast"
    ),
    "map in half precision": (
        posterior(half_precision_scale), "log_q_matches_the_jacobian_under_autocast"
    ),
    "a random buffer not saved": (NotSaved, "survives_saving_and_loading"),
    "two names of one tensor": (TiedWeights, "survives_saving_and_loading"),
    "no log-determinant in evaluation": (
        only_when(lambda module: module.training), "log_q_matches_the_jacobian"
    ),
    "no log-determinant in training": (
        only_when(lambda module: not module.training), "is_the_same_in_training"
    ),
    "rounded in float32": (
        posterior(lambda s, t: [lambda z: (
            z * (1 + (z.dtype == torch.float32) * 1e-2), 0 * z[..., 0]
        )]),
        "agrees_in_float32",
    ),
    "an inverse without its log-determinant": (
        posterior(lambda s, t: [HalfInverse()]), "scores_its_draws_from_outside"
    ),
    "rsample of the base": (RsampleOfBase, "rsample_gives_its_draws"),
    "the KL of another density": (AnothersKL, "closed_forms_are_its_own"),
    "samples and images swapped where they are as many": (
        wrong(lambda d, z, s: d.mT if d.dim() > 1 and d.shape[-1] == d.shape[-2] else d),
        "scores_each_draw_by_itself",
    ),
    "log-determinant of the first 20 dimensions": (
        posterior(lambda s, t: [lambda z: (bend(z)[0], slope(z)[..., :20].log().sum(-1))]),
        "log_q_matches_at_every_size",
    ),
    "a fold from four dimensions on": (
        posterior(lambda s, t: [lambda z: (
            torch.cat([z[..., :3], z[..., 3:].abs()], -1), 0 * z[..., 0]
        )]),
        "keeps_its_orientation",
    ),
    "chunks of images joined in another order": (chunked, "treats_images_independently"),
    "noise that repeats after 8 samples": (
        base(repeating), "draws_noise_for_every_sample_and_image"
    ),
    "no steps, and yet a map": (NoZeroSteps, "zero_steps_leave_the_base"),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_the_named_check_catches_the_bug(bug):
    part, name = BUGS[bug]
    with pytest.raises((AssertionError, RuntimeError, PluginError)) as caught:
        CHECKS[name](part)
    elsewhere = {
        "two names of one tensor": RuntimeError,
        "one log-determinant per dimension": PluginError,
    }
    assert caught.type is elsewhere.get(bug, AssertionError)


class Coupling:
    """One half of z, scaled and shifted by a network of the other half and of h."""

    def __init__(self, net, h, flip):
        self.net, self.h, self.flip = net, h, flip

    def __call__(self, z):
        z = z.flip(-1) if self.flip else z
        a, b = z.tensor_split(2, dim=-1)
        s, t = self.net(torch.cat([a, self.h.expand(*a.shape[:-1], -1)], -1)).tensor_split(2, -1)
        s, t = torch.tanh(s)[..., : b.shape[-1]], t[..., : b.shape[-1]]
        return torch.cat([a, b * s.exp() + t], -1), s.sum(-1)


def couplings(steps):
    """Contracts by up to e to the number of steps: noise from far out comes near."""

    class Part(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            half = (latent + 1) // 2
            self.head = nn.Linear(features, 2 * latent)
            self.nets = nn.ModuleList(
                nn.Sequential(nn.Linear(half + features, 8), nn.Tanh(), nn.Linear(8, 2 * half))
                for _ in range(steps if latent > 1 else 0)
            )

        def forward(self, h):
            maps = [Coupling(net, h, i % 2) for i, net in enumerate(self.nets)]
            return Flow(DiagonalNormal(*at_least_float32(self.head(h)).chunk(2, -1)), maps)

    return Part


@pytest.mark.parametrize(
    "part",
    [
        posterior(),
        scaled(signs, lambda f: f.abs().log().sum(-1)),
        planar(constrained, without_cancelling),
        couplings(4),
        couplings(8),
    ],
    ids=["elementwise", "reflected", "planar", "4 couplings", "8 couplings"],
)
def test_the_right_parts_pass(part):
    check("posterior", part)
