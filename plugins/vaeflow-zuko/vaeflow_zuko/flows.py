"""zuko's transforms as maps of a vaeflow flow.

Shapes: K samples, B batch, C size of the context, L latent size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.distributions import full_precision
from vaeflow_zuko.library import LazyTransform


class ZukoMap:
    """One of zuko's transforms x -> y, given a context: its value and log-determinant at once.

    `log|det|` is that of the map in both directions, as vaeflow's flows expect. Which direction is
    fast depends on the transform: an autoregressive one maps x to y in one pass of its network and
    y to x in L passes.

    Arguments:
        transform: makes the transform of a context.
        context: (B, C) or None.
        inverted: map y to x.
    """

    def __init__(
        self, transform: LazyTransform, context: Tensor | None = None, *, inverted: bool = False
    ) -> None:
        self.transform = transform
        self.context = context
        self.inverted = inverted

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        return self._apply(z, self.inverted)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map; log|det| (*, B) is still that of the map."""
        z, log_det = self._apply(z, not self.inverted)
        return z, -log_det

    def _apply(self, z: Tensor, inverted: bool) -> tuple[Tensor, Tensor]:
        # zuko runs its networks within the transforms and takes the slope of some by autograd: half
        # precision would ruin the log-determinant, and in inference mode, where vaeflow evaluates,
        # autograd records nothing.
        recording = torch.is_grad_enabled()
        if not z.numel():  # which zuko's networks cannot reshape
            return z, z.sum(-1)
        with (
            full_precision(z),
            torch.inference_mode(False),
            torch.set_grad_enabled(recording),
        ):
            transform = self.transform(_recordable(self.context))
            result: tuple[Tensor, Tensor] = (
                transform.inv if inverted else transform
            ).call_and_ladj(_recordable(z))
            return result


def _recordable(x: Tensor | None) -> Tensor | None:
    return x.clone() if x is not None and x.is_inference() else x
