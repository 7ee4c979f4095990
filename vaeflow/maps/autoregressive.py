"""Autoregressive maps: each dimension is moved as those before it say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaeflow.distributions.numerics import at_least_float32
from vaeflow.maps.univariate import Gate, Univariate
from vaeflow.nn.masked import MADE
from vaeflow.nn.mlp import Activation


class Autoregressive(nn.Module):
    r"""An autoregressive map for each context h: :math:`z_i' = f(z_i; θ_i(z_1, …, z_{i-1}, h))`.

    A masked network emits θ. It starts with θ = 0.

    Arguments:
        latent: L.
        features: F, the size of the context h, or 0 for none.
        univariate: the family of f.
        reverse: count the dimensions from the last to the first.
        width: hidden units of each layer of the masked network.
        depth: number of its hidden layers, at least 1.
        act: its nonlinearity.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        univariate: Univariate,
        *,
        reverse: bool,
        width: int,
        depth: int,
        act: Activation,
    ) -> None:
        super().__init__()
        self.univariate = univariate
        self.net = MADE(
            latent,
            features,
            width=width,
            depth=depth,
            outputs=univariate.size,
            act=act,
            reverse=reverse,
        )
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
    """

    def __init__(self, net: MADE, univariate: Univariate, h: Tensor | None) -> None:
        self.net = net
        self.univariate = univariate
        self.context = net.given(h)

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        z, log_slope = self.univariate(z, self._theta(z))
        return z, log_slope.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map, exactly, in L passes; log|det| (*, B) is still that of the map.

        Each pass finds one dimension, as θ_i needs those before i.
        """
        # What is not found yet is 0: its weights are masked, but 0·∞ would not be 0.
        found = list(torch.zeros_like(z).unbind(-1))
        log_det = z.new_zeros(z.shape[:-1])
        far = torch.finfo(z.dtype).max ** 0.4  # where no density is left, but squares are finite
        for i in self.net.order:
            theta = self._theta(torch.stack(found, dim=-1))
            one = slice(i, i + 1)
            z_i, log_slope = self.univariate.inverse(z[..., one], theta[..., one])
            # What leaves the range of the numbers would make the next dimensions inf − inf.
            found[i] = z_i.squeeze(-1).clamp(-far, far)
            log_det = log_det + log_slope.squeeze(-1)
        return torch.stack(found, dim=-1), log_det

    def _theta(self, z: Tensor) -> Tensor:
        return at_least_float32(self.net(z, self.context)).unflatten(-1, (-1, z.shape[-1]))


class IAFMap(AutoregressiveMap):
    """One gated autoregressive map for the features h (B, F): L passes of the network to undo.

    Arguments:
        net: emits the means and the gates, (*, 2L).
        h: (B, F), or None for a network without context.
        reverse: reverse the order of the dimensions first.
    """

    def __init__(self, net: nn.Module, h: Tensor | None, *, reverse: bool) -> None:
        assert isinstance(net, MADE)
        super().__init__(net, Gate(), h)
        self.reverse = reverse

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        return super().__call__(z.flip(-1) if self.reverse else z)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map, exactly, in L passes; log|det| (*, B) is still that of the map."""
        z, log_det = super().inverse(z)
        return z.flip(-1) if self.reverse else z, log_det
