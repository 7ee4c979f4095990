"""Householder reflections, which keep volumes."""

from __future__ import annotations

import torch
from torch import Tensor


class Reflections:
    """A product of T reflections; a vector of length 0 leaves z as it is.

    Arguments:
        v: (B, T, L), of any length.
    """

    def __init__(self, v: Tensor) -> None:
        # Only the direction of v counts, but the square of a large v may overflow.
        largest = v.detach().abs().amax(-1, keepdim=True)
        v = v / torch.where(largest == 0, 1.0, largest)
        vv = (v * v).sum(-1, keepdim=True)
        v = v * torch.where(vv == 0, 1.0, vv).rsqrt()
        self.v = v.unbind(-2)  # T times (B, L), of length 1 or 0

    def __repr__(self) -> str:
        batch, latent = self.v[0].shape
        return f"Reflections(batch {batch}, {len(self.v)} reflections, latent {latent})"

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| = 0 (*, B)."""
        for v in self.v:
            z = _reflect(z, v)
        return z, z.new_zeros(z.shape[:-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map by the same reflections in reverse."""
        for v in reversed(self.v):
            z = _reflect(z, v)
        return z, z.new_zeros(z.shape[:-1])


def _reflect(z: Tensor, v: Tensor) -> Tensor:
    # Elementwise: autocast would round a matrix product.
    return z - 2 * (z * v).sum(-1, keepdim=True) * v
