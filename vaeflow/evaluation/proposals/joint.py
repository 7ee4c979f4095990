"""The unnormalized posterior of a batch of images, log p(x|z) + log p(z), and its slope in z.

Shapes: K points, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data, as_examples
from vaeflow.model import VAE


class Joint:
    """log p(x, z) as a function of z, for the images x (B, *data_shape).

    Arguments:
        model: frozen, on the device of x.
        block: draws, of all images together, that are drawn at a time.
        rows: points, of all images together, that pass through the decoder at a time.
        prior: p(z), if it is known: a mixture of posteriors takes a pass through the encoder.
    """

    def __init__(
        self, model: VAE, x: Data, block: int, rows: int, prior: Distribution | None = None
    ) -> None:
        self.model, self.x, self.block, self.rows = model, as_examples(x), block, rows
        self._prior = model.latent_prior() if prior is None else prior

    def __len__(self) -> int:
        return len(self.x)

    def of(self, images: Tensor) -> Joint:
        """Return the joint of some images, by their indices; one may come several times."""
        return Joint(self.model, self.x[images], self.block, self.rows, self._prior)

    @cached_property
    def posterior(self) -> Distribution:
        """Return q(z|x), batch (B,), event (L,): the encoder runs once."""
        return self.model.infer(self.x)

    def terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and log p(z), (K, B) each, at points z (K, B, L)."""
        log_px = [self.model.log_px(part, self.x) for part in self._parts(z)]
        return torch.cat(log_px), self._prior.log_prob(z)

    def slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x, z) (K, B) and its gradient (K, B, L) at points z (K, B, L).

        Raises:
            RuntimeError: if a part cannot be differentiated.
        """
        values, slopes = [], []
        for part in self._parts(z):
            with torch.enable_grad():
                at = part.detach().requires_grad_()
                log_px = self.model.log_px(at, self.x)
                if not log_px.requires_grad:  # the prior's slope alone would pass for the whole
                    raise RuntimeError("log p(x|z) does not depend on z by differentiable steps")
                value = log_px + self._prior.log_prob(at)
                (slope,) = torch.autograd.grad(value.sum(), at)
            values.append(value.detach())
            slopes.append(slope)
        return torch.cat(values), torch.cat(slopes)

    def _parts(self, z: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = z.split(max(1, self.rows // len(self.x)))
        return parts
