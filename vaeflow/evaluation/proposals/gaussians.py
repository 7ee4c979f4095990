"""Mixtures of Gaussians or of Student's t, one for each image, to be drawn from and scored.

Shapes: K draws, B batch, L latent size, M components. Densities are in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Chi2

_SPREAD = 1.1  # times the fitted one: weights have a light tail where the proposal is the wider


@dataclass(frozen=True)
class Gaussians:
    r"""The proposal :math:`r(z) = \sum_m w_m\, t_ν(z;\, c_m, s^2 F_m F_m^T)` of each image.

    Of ν = ∞ a component is a Gaussian. Its spread s is 1.1 times the fitted one.
    """

    center: Tensor  # (M, B, L)
    factor: Tensor  # (M, B, L, L): the fitted covariance is F Fᵀ
    log_share: Tensor  # (M, B): log w_m
    freedom: float = math.inf  # ν

    def of(self, images: Tensor) -> Gaussians:
        """Return the proposals of some images, by their indices."""
        center, factor, log_share = (
            t[:, images] for t in (self.center, self.factor, self.log_share)
        )
        return Gaussians(center, factor, log_share, self.freedom)

    def draw(self, count: int) -> Tensor:
        """Draw z (K, B, L)."""
        m, b, latent = self.center.shape
        noise = torch.randn(count, b, latent, dtype=self.center.dtype, device=self.center.device)
        if self.freedom < math.inf:
            chi2 = Chi2(self.center.new_tensor(self.freedom)).sample((count, b, 1))
            noise = noise * (self.freedom / chi2).sqrt()
        if m == 1:
            return self.center[0] + _SPREAD * torch.einsum("bij,kbj->kbi", self.factor[0], noise)
        chosen = torch.multinomial(self.log_share.exp().T, count, replacement=True).T  # (K, B)
        image = torch.arange(b, device=chosen.device).expand_as(chosen)
        turned = torch.einsum("kbij,kbj->kbi", self.factor[chosen, image], noise)
        return self.center[chosen, image] + _SPREAD * turned

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log r(z) (K, B) at z (K, B, L)."""
        parts = [
            share + self._log_density(z, center, factor)
            for center, factor, share in zip(self.center, self.factor, self.log_share, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.stack(parts).logsumexp(0)

    def _log_density(self, z: Tensor, center: Tensor, factor: Tensor) -> Tensor:
        latent, freedom = z.shape[-1], self.freedom
        # In float64: the factor of a posterior that hardly moves in some directions is as good as
        # singular, and its inverse would lose nats.
        inverse = torch.linalg.inv(_SPREAD * factor.double())
        white = torch.einsum("bij,kbj->kbi", inverse, (z - center).double())
        squares, log_det = white.square().sum(-1), torch.linalg.slogdet(inverse)[1]
        if freedom == math.inf:
            log_unit = -0.5 * (squares + latent * math.log(2 * math.pi))
        else:
            constant = math.lgamma((freedom + latent) / 2) - math.lgamma(freedom / 2)
            constant -= latent / 2 * math.log(freedom * math.pi)
            log_unit = constant - (freedom + latent) / 2 * torch.log1p(squares / freedom)
        return torch.as_tensor(log_unit + log_det)
