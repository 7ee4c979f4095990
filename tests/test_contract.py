"""Every registered part keeps the contract of its kind; and the contract can fail."""

from functools import partial

import pytest
import torch
from torch import nn

from vaeflow.components import Posterior
from vaeflow.distributions import DiagonalNormal, Flow
from vaeflow.plugins import load_plugins
from vaeflow.posteriors.planar import Planar, PlanarMaps
from vaeflow.registry import KINDS
from vaeflow.testing import check, checks

# Parts that need a file, or that are no density by their own account, with the reason.
ELSEWHERE = {
    ("dataset", "mnist"): "needs its files: tests/datasets/test_mnist.py",
    ("dataset", "file"): "needs a file: tests/datasets/test_file.py",
}
# Options beside the defaults under which a part must keep its contract too.
VARIANTS = {
    ("posterior", "planar"): [{"steps": 0}, {"steps": 1}],
    ("posterior", "iaf"): [{"steps": 0}, {"steps": 2, "width": 8, "depth": 2}],
    ("likelihood", "gaussian"): [{"scale": "shared"}, {"scale": "pixel"}, {"link": "sigmoid"}],
    ("encoder", "mlp"): [{"hidden": ()}, {"init": "truncated-normal"}],
    ("decoder", "mlp"): [{"hidden": ()}],
    ("objective", "elbo"): [{"samples": 3, "warmup": 5.0}, {"kl": "analytic", "beta": 2.0}],
}


def cases():
    registry = load_plugins().registry
    for kind in KINDS:
        for part in registry.parts(kind):
            if (kind, part.name) in ELSEWHERE:
                continue
            for options in ({}, *VARIANTS.get((kind, part.name), [])):
                told = ",".join(f"{k}={v}" for k, v in options.items())
                for law in checks(kind):
                    yield pytest.param(
                        part, options, law, id=f"{kind}-{part.name}({told})-{law.__name__}"
                    )


@pytest.mark.parametrize(("part", "options", "law"), list(cases()))
def test_every_part_keeps_its_contract(part, options, law):
    law(partial(part.load(), **options))


def test_every_kind_has_checks():
    assert all(checks(kind) for kind in KINDS)


class Stretch(nn.Module):
    """z -> 2z with a log-determinant that the subclass gets wrong."""

    def __init__(self, log_det):
        super().__init__()
        self.log_det = log_det

    def __call__(self, z):
        return 2 * z, self.log_det(z)


def flow(maps):
    """A posterior class of a Gaussian base and the maps that `maps(h)` returns."""

    class Broken(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            self.head = nn.Linear(features, 2 * latent)

        def forward(self, h):
            return Flow(DiagonalNormal(*self.head(h).chunk(2, -1)), maps(h))

    return Broken


LOG2 = torch.log(torch.tensor(2.0, dtype=torch.float64))


def right(z):
    return z.shape[-1] * LOG2.to(z.dtype).expand(z.shape[:-1])


class UnconstrainedPlanar(PlanarMaps):
    """û = u: not invertible where w·u < −1."""

    def __init__(self, w, u, b):
        super().__init__(w, u, b)
        self.u_hat = u
        self.gram = w @ u.mT

    def __call__(self, z):
        a = torch.einsum("...bl,btl->...bt", z, self.w) + self.b
        slope = 1 + (self.w * self.u_hat).sum(-1) * (1 - torch.tanh(a) ** 2)
        z = z + torch.einsum("...bt,btl->...bl", torch.tanh(a), self.u_hat)
        return z, slope.abs().log().sum(-1)


class OnePlanar(Planar):
    def __init__(self, latent, features):
        super().__init__(latent, features, steps=1)

    def maps(self, h):
        return UnconstrainedPlanar(*self._split(self.flow(h)))


class SharedNoise(Posterior):
    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)

    def forward(self, h):
        q = DiagonalNormal(*self.head(h).chunk(2, -1))

        class Same(type(q)):
            def draw(self, shape=()):
                z = q.base_dist.loc + q.base_dist.scale * torch.randn_like(q.base_dist.loc[:1])
                z = z.expand(*shape, *z.shape)
                return z, q.log_prob(z), torch.zeros(z.shape[:-1], dtype=z.dtype)

        return Same(q.loc, 2 * q.log_scale)


BUGS = {
    "sign of the log-determinant": flow(lambda h: [Stretch(lambda z: -right(z))]),
    "no log-determinant": flow(lambda h: [Stretch(lambda z: torch.zeros(z.shape[:-1]).double())]),
    "summed over the batch": flow(
        lambda h: [Stretch(lambda z: right(z).sum(-1, keepdim=True).expand(z.shape[:-1]))]
    ),
    "one per dimension": flow(lambda h: [Stretch(lambda z: LOG2.expand(z.shape))]),
    "planar without the constraint": OnePlanar,
    "noise shared over the batch": SharedNoise,
    "features detached": flow(lambda h: [Stretch(right)]),
    "batch statistics": flow(lambda h: [lambda z: (z - h.mean(), z.new_zeros(z.shape[:-1]))]),
}


class Detached(BUGS["features detached"]):
    def forward(self, h):
        return super().forward(h.detach())


BUGS["features detached"] = Detached


@pytest.mark.parametrize("bug", BUGS)
def test_the_contract_catches(bug):
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError, ValueError)):
        check("posterior", BUGS[bug])


def test_the_contract_passes_what_is_right():
    check("posterior", flow(lambda h: [Stretch(right)]))
