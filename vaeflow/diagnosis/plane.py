"""The posterior of a latent space of two dimensions on a grid, and any q beside it.

Shapes: B images, S points along each axis of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data
from vaeflow.distributions.draw import draw
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise

_FAR = 7.0  # nats below the peak: of a Gaussian, e⁻⁷ lies outside
_CHUNK = 4000  # rows through the decoder at a time


@dataclass(frozen=True)
class Window:
    """The part of the plane where the posterior of one image lies, with every q there."""

    first: Tensor  # (S,): z_1
    second: Tensor  # (S,): z_2
    log_px: float  # by quadrature
    log_posterior: Tensor  # (S, S): log p(z|x) at z = (first[j], second[i])
    log_q: Mapping[str, Tensor]  # (S, S) each; a q that scores only its own draws has none
    draws: Mapping[str, Tensor]  # (n, 2) each
    divergence: Mapping[str, float]  # KL(q ‖ p(z|x)) in nats, over the draws

    def __repr__(self) -> str:
        return f"Window(log_px={self.log_px:.2f}, divergence={dict(self.divergence)})"


def windows(
    model: VAE,
    x: Data,
    qs: Mapping[str, Distribution],
    *,
    side: int = 160,
    draws: int = 2000,
    seed: int = 0,
) -> list[Window]:
    r"""Return the posterior of each image x (B, *data_shape) in a window of its own.

    .. math:: \log p(x) ≈ \log \sum_j p(x|z_j)\,p(z_j)\,Δ, \quad
        \mathrm{KL}(q ‖ p(z|x)) = \log p(x) - E_q[\log p(x|z) + \log p(z) - \log q(z)]

    A coarse grid over all of the prior finds where the posterior is; a fine one covers that, and
    the draws of every q.

    Arguments:
        model: of latent size 2.
        x: on the model's device.
        qs: by name, batch (B,), event (2,).
        side: S.
        draws: of each q.
        seed: of the draws.
    """
    assert model.posterior.latent == 2
    with Noise(seed, x.device).private("plane"), frozen(model), torch.no_grad():
        samples = {name: draw(q, (draws,)) for name, q in qs.items()}
        around = torch.cat([s.z for s in samples.values()])
        prior = model.latent_prior().sample((10_000,))[:, None].expand(-1, len(x), -1)
        low, high = _reach(model, x, prior, around, side)
        z, cell = _grid(low, high, side)
        joint = _joint(model, x, z).double()
        log_px = joint.logsumexp(0) + cell.log()
        found = {name: q_at for name, q in qs.items() if (q_at := _scored(q, z)) is not None}
        divergence = {
            name: log_px - (_joint(model, x, s.z) - s.log_prob).double().mean(0)
            for name, s in samples.items()
        }
    return [
        Window(
            first=z[:side, i, 0].cpu(),
            second=z[::side, i, 1].cpu(),
            log_px=log_px[i].item(),
            log_posterior=(joint[:, i] - log_px[i]).unflatten(0, (side, side)).cpu(),
            log_q={n: v[:, i].unflatten(0, (side, side)).cpu() for n, v in found.items()},
            draws={name: s.z[:, i].cpu() for name, s in samples.items()},
            divergence={name: kl[i].item() for name, kl in divergence.items()},
        )
        for i in range(len(x))
    ]


def _reach(model: VAE, x: Data, prior: Tensor, around: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the corners (B, 2) of square windows of the posterior and the draws (n, B, 2)."""
    every = torch.cat([prior, around])
    z, _ = _grid(every.amin(0), every.amax(0), side)
    joint = _joint(model, x, z)
    held = (joint > joint.amax(0) - _FAR)[..., None]
    spacing = (z[-1] - z[0]) / (side - 1)
    ends = torch.tensor([0.002, 0.998], dtype=around.dtype, device=around.device)
    near, far = torch.quantile(around, ends, 0)
    low = torch.minimum(z.where(held, torch.inf).amin(0) - spacing, near)
    high = torch.maximum(z.where(held, -torch.inf).amax(0) + spacing, far)
    middle, reach = (low + high) / 2, 0.55 * (high - low).amax(-1, keepdim=True)
    return middle - reach, middle + reach


def _grid(low: Tensor, high: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the points (S², B, 2) between corners (B, 2), z_1 fastest, and cells' areas (B,)."""
    t = torch.linspace(0, 1, side, dtype=low.dtype, device=low.device)
    second, first = torch.meshgrid(t, t, indexing="ij")
    points = torch.stack((first, second), -1).reshape(-1, 1, 2)
    return low + points * (high - low), ((high - low) / (side - 1)).double().prod(-1)


def _joint(model: VAE, x: Data, z: Tensor) -> Tensor:
    """Return log p(x|z) + log p(z) (n, B) at z (n, B, 2)."""
    prior = model.latent_prior()
    parts = z.split(math.ceil(_CHUNK / len(x)))
    return torch.cat([model.log_px(part, x) + prior.log_prob(part) for part in parts])


def _scored(q: Distribution, z: Tensor) -> Tensor | None:
    try:
        return q.log_prob(z)
    except NotImplementedError:  # a flow whose maps have no inverse
        return None
