"""Radial maps, which contract or expand space around a point."""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.distributions.numerics import softplus, widest


class RadialMap:
    r"""One radial map, in the terms of s = α + β̂ = softplus(β).

    .. math::
        f(z) = c + v\,(z - c), \quad v = \frac{r + s}{r + α}, \quad
        \log|\det| = (L - 1) \log v + \log\frac{r + α v}{r + α}

    All terms of the sums are positive. Eq. 14 of Rezende & Mohamed 2015 loses digits as β̂ → −α, in
    1 + β̂h and in 1 + β̂h + β̂h'r.

    Arguments:
        centre: (B, L).
        a: (B), α before its softplus.
        b: (B), β.
    """

    def __init__(self, centre: Tensor, a: Tensor, b: Tensor) -> None:
        # No softplus may underflow to 0, as 0/0 would follow at the centre.
        tiny = torch.finfo(centre.dtype).tiny
        self.centre, self.a, self.b = centre, a, b
        self.alpha = softplus(a) + tiny
        self.s = softplus(b) + tiny

    def __repr__(self) -> str:
        batch, latent = self.centre.shape
        return f"RadialMap(batch {batch}, latent {latent})"

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        away = z - self.centre
        r = torch.linalg.vector_norm(away, dim=-1)
        v = (r + self.s) / (r + self.alpha)
        return self.centre + v[..., None] * away, self._log_det(r, v, z.shape[-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map: r is the positive root of r² + (s − R)r − αR = 0, R = ‖z − c‖.

        It is sought in float64: float32 has no numbers for R/r where the map sweeps its centre out.
        """
        exact = RadialMap(widest(self.centre), widest(self.a), widest(self.b))
        back, log_det = exact._undo(widest(z))
        return back.to(z.dtype), log_det.to(z.dtype)

    def _undo(self, z: Tensor) -> tuple[Tensor, Tensor]:
        away = z - self.centre
        far = torch.linalg.vector_norm(away, dim=-1)
        half = 0.5 * (far - self.s)
        root = torch.sqrt(half * half + self.alpha * far)
        # Of the two forms of the root, the one that subtracts nothing.
        r = torch.where(half > 0, half + root, self.alpha * far / (half.abs() + root))
        v = (r + self.s) / (r + self.alpha)
        return self.centre + away / v[..., None], self._log_det(r, v, z.shape[-1])

    def _log_det(self, r: Tensor, v: Tensor, latent: int) -> Tensor:
        total = r + self.alpha
        return (latent - 1) * v.log() + (r / total + self.alpha / total * v).log()
