"""Autoregressive maps: the dimensions before each dimension tell how it moves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaeflow.distributions.numerics import at_least_float32
from vaeflow.maps.univariate import Univariate
from vaeflow.nn.masked import MADE, Hidden


class Autoregressive(nn.Module):
    r"""An autoregressive map for each context h: :math:`z_i' = f(z_i; θ_i(z_1, …, z_{i-1}, h))`.

    A masked network emits θ. It starts with θ = 0.

    Arguments:
        latent: L.
        features: F, the size of the context h, or 0 for none.
        univariate: the family of f.
        hidden: the hidden layers of the masked network.
        reverse: count the dimensions from the last to the first.
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
        self.univariate = univariate
        self.net = MADE(latent, features, hidden, outputs=univariate.size, reverse=reverse)
        self.net.start_at_zero()

    def forward(self, h: Tensor | None = None) -> AutoregressiveMap:
        """Return the map for features h (B, F)."""
        return AutoregressiveMap(self.net, self.univariate, h)


class AutoregressiveMap:
    """One autoregressive map: one pass of the network forward, L passes back.

    Arguments:
        net: emits θ, (*, size·L).
        univariate: the family of functions.
        h: (B, F), or None for a network without context.
        flip: reverse the dimensions of z before the map; they stay reversed afterwards. `reverse`
            of the network counts them from the end instead and leaves z as it is.
    """

    def __init__(
        self, net: MADE, univariate: Univariate, h: Tensor | None, *, flip: bool = False
    ) -> None:
        self.net = net
        self.univariate = univariate
        self.context = net.given(h)
        self.flip = flip

    def __repr__(self) -> str:
        return f"AutoregressiveMap(latent {len(self.net.order)}, {self.univariate!r})"

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        z = z.flip(-1) if self.flip else z
        z, log_slope = self.univariate(z, self._theta(z))
        return z, log_slope.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map, exactly, in L passes; log|det| (*, B) is still that of the map.

        Each pass finds one dimension, as θ_i needs the dimensions before i.
        """
        # A dimension not yet found is 0: the mask is 0 as well, and 0·∞ would be NaN.
        found = list(torch.zeros_like(z).unbind(-1))
        log_det = z.new_zeros(z.shape[:-1])
        far = torch.finfo(z.dtype).max ** 0.4  # where no density is left, but squares are finite
        for i in self.net.order:
            theta = self._theta(torch.stack(found, dim=-1))
            one = slice(i, i + 1)
            z_i, log_slope = self.univariate.inverse(z[..., one], theta[..., one])
            # An infinite dimension would make the next ones inf − inf.
            found[i] = z_i.squeeze(-1).clamp(-far, far)
            log_det = log_det + log_slope.squeeze(-1)
        z = torch.stack(found, dim=-1)
        return z.flip(-1) if self.flip else z, log_det

    def _theta(self, z: Tensor) -> Tensor:
        flat = at_least_float32(self.net(z, self.context))
        theta: Tensor = flat.unflatten(-1, (-1, z.shape[-1]))
        return theta
