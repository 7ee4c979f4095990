"""Posteriors made by hand, from a right flow or with a mistake, for the tests of the checks."""

import torch
import torch.nn.functional as F
from torch import nn

from vaeflow.distributions.draw import Draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.parts.abstract import Posterior


def affine(s, t):
    """z -> e^tanh(s) z + t, of each image its own."""
    s = torch.tanh(at_least_float32(s))
    return lambda z: (s.exp() * z + t, s.sum(-1).expand(z.shape[:-1]))


def bend(z):
    """z -> z + ½ tanh z."""
    return z + 0.5 * torch.tanh(z), slope(z).log().sum(-1)


def slope(z):
    return 1 + 0.5 * (1 - torch.tanh(z) ** 2)


def right(s, t):
    return [bend, affine(s, t), bend]


def posterior(maps=right, base=DiagonalNormal, forward=None):
    class Part(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            self.head = nn.Linear(features, 4 * latent)

        def forward(self, h):
            loc, log_variance, s, t = self.head(h).chunk(4, -1)
            return Flow(base(loc, log_variance), maps(s, t))

    if forward is not None:
        Part.forward = forward
    return Part


def wrong(log_det):
    """The right flow with the log-determinant that `log_det(right one, z, s)` makes of its own."""

    def maps(s, t):
        def whole(z0):
            z, total = z0, 0.0
            for f in right(s, t):
                z, term = f(z)
                total = total + term
            return z, log_det(total, z0, s)

        return [whole]

    return posterior(maps)


def scaled(factors, log_det):
    """z -> z times `factors(z)` (L), whose log|det| `log_det(factors)` tells."""
    return posterior(lambda s, t: [lambda z: (z * factors(z), log_det(factors(z)))])


def written_out(w, u, u0, bent):
    """log|1 + ψ|, whose digits cancel in float32 where 1 + ψ is near 0."""
    return (1 + (w * u).sum(-1) * (1 - bent**2)).abs().log()


def without_cancelling(w, u, u0, bent):
    """log(1 + ψ) = log(tanh² + softplus(w·u) (1 − tanh²)), as 1 + w·û = softplus(w·u)."""
    return (bent**2 + F.softplus((w * u0).sum(-1)) * (1 - bent**2)).log()


def planar(constrain, log_det=written_out):
    """One planar map whose û is `constrain(u, w)`, with the log-determinant of that û."""

    class Planar(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            self.head = nn.Linear(features, 4 * latent)

        def forward(self, h):
            loc, log_variance, u, w = self.head(h).chunk(4, -1)
            u0, u = u, constrain(u, 2 * w)

            def f(z):
                bent = torch.tanh((z * 2 * w).sum(-1, keepdim=True))
                return z + u * bent, log_det(2 * w, u, u0, bent.squeeze(-1))

            return Flow(DiagonalNormal(loc, log_variance), [f])

    return Planar


def constrained(u, w, power=2):
    wu = (w * u).sum(-1, keepdim=True)
    return u + (F.softplus(wu) - 1 - wu) * w / w.norm(dim=-1, keepdim=True) ** power


class WrongBase(DiagonalNormal):
    """A Gaussian with a draw that `make(self, noise)` scores wrongly or shares."""

    make = staticmethod(lambda q, noise: None)

    def draw(self, shape=()):
        noise = torch.randn(*shape, *self.loc.shape, dtype=self.loc.dtype)
        z, log_prob = self.make(self, noise)
        return Draw(z, log_prob, torch.zeros_like(log_prob))


def base(make):
    return posterior(base=type("Base", (WrongBase,), {"make": staticmethod(make)}))
