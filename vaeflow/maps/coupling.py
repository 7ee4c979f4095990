"""Coupling maps: one half of the dimensions moves the other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaeflow.distributions.numerics import at_least_float32
from vaeflow.maps.univariate import Univariate
from vaeflow.nn.masked import Conditioner, Hidden

Pair = tuple[Tensor, Tensor]


class Coupling(nn.Module):
    r"""A coupling map for each context h: :math:`z_a' = f(z_a; θ(z_b, h))`, :math:`z_b' = z_b`.

    A perceptron emits θ. It starts with θ = 0.

    Arguments:
        latent: L, at least 2.
        features: F, the size of the context h, or 0 for none.
        univariate: the family of f.
        hidden: the hidden layers of the perceptron.
        reverse: move the last half of the dimensions instead of the first.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        univariate: Univariate,
        hidden: Hidden,
        *,
        reverse: bool,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.univariate = univariate
        self.reverse = reverse
        self.first = -(-latent // 2)  # the size of the first half
        moved = latent - self.first if reverse else self.first
        sizes = [latent - moved, *[hidden.width] * hidden.depth, moved * univariate.size]
        layers = (nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes))
        self.net = Conditioner(layers, features, width=hidden.width, act=hidden.act)
        self.net.start_at_zero()

    def forward(self, h: Tensor | None = None) -> CouplingMap:
        """Return the map for features h (B, F)."""
        return CouplingMap(self, h)


class CouplingMap:
    """One coupling map; either direction takes one pass of the network.

    Arguments:
        layer: the network and the univariate functions.
        h: (B, F), or None for a layer without context.
    """

    def __init__(self, layer: Coupling, h: Tensor | None) -> None:
        self.layer = layer
        self.context = layer.net.given(h)

    def __repr__(self) -> str:
        return f"CouplingMap(latent {self.layer.latent}, {self.layer.univariate!r})"

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        return self._apply(z, self.layer.univariate)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map; log|det| (*, B) is still that of the map."""
        return self._apply(z, self.layer.univariate.inverse)

    def _apply(self, z: Tensor, f: Callable[[Tensor, Tensor], Pair]) -> Pair:
        first, last = z.split((self.layer.first, z.shape[-1] - self.layer.first), dim=-1)
        still, moved = (first, last) if self.layer.reverse else (last, first)
        theta = at_least_float32(self.layer.net(still, self.context))
        moved, log_slope = f(moved, theta.unflatten(-1, (-1, moved.shape[-1])))
        halves = (still, moved) if self.layer.reverse else (moved, still)
        return torch.cat(halves, dim=-1), log_slope.sum(-1)
