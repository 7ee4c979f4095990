"""Checks that the map from noise to z does not fold: no z has two noises. Shapes: P points."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from vaeflow.testing.kinds.posteriors import features, posterior, with_jacobian, within
from vaeflow.testing.probes import normal
from vaeflow.testing.registered import MakePart, Refused, register

_SIZES = (1, 2, 3, 5, 8, 10, 12, 16, 20, 25, 30, 32, 33, 40, 50, 64)
_STEPS = 10


@register("posterior")
def keeps_its_orientation(part: MakePart) -> None:
    """det ∂z/∂ε has one sign for all noise of an image: where it changes, the map folds."""
    for seed, latent in enumerate((2, 2, 1, 5, 12, 33)):
        with suppress(Refused):  # of a size that the part refuses
            _one_sign(posterior(part, latent, seed=seed), latent, seed)


def _one_sign(module: nn.Module, latent: int, seed: int) -> None:
    images, n = (8, 64) if latent == 2 else (4, 32) if latent < 10 else (1, 16)
    h = features(images, seed=seed + 100).repeat_interleave(n, 0)
    eps = within(module, h, normal(n * images, latent, seed=seed + 200))
    _, jacobian = with_jacobian(module, h, eps)
    jacobian = jacobian.nan_to_num()
    sign = torch.linalg.det(jacobian).sign() * (torch.linalg.cond(jacobian) < 1e9)
    sign = sign.reshape(images, n)
    folds = (sign.amax(1) > 0) & (sign.amin(1) < 0)
    assert not folds.any(), "det ∂z/∂ε is positive at some noise, negative at other"


@register("posterior", once=True)
def no_z_has_two_noises(part: MakePart) -> None:
    """Newton's method for the noise of a z finds no second one, from other signs and far starts."""
    for seed, latent in enumerate(_SIZES):
        with suppress(Refused):
            module = posterior(part, latent, scale=0.5, seed=seed)
            other = _another(module, latent, seed)
            assert other is None, (
                f"at latent size {latent} two noises, {other:.3g} apart, give the same z: "
                "the map folds, so that log q leaves out a part of the density"
            )


def _another(module: nn.Module, latent: int, seed: int) -> float | None:
    """Return how far from its own noise another one of the same z is, if one is found."""
    h = features(1, seed=seed + 100).expand(6, -1)
    far = torch.tensor([1.0, 1.0, 2.5])[:, None].to(h)
    own = within(module, h, far * normal(3, latent, seed=seed + 200)).repeat(2, 1)
    wanted, slopes = with_jacobian(module, h, own)
    signs = torch.where(normal(3, latent, seed=seed + 300) > 0, 1.0, -1.0)
    eps = torch.cat([-own[:3], signs * own[3:]])
    for _ in range(_STEPS):
        sample, jacobian = with_jacobian(module, h, eps)
        away = sample.z - wanted.z
        step = torch.linalg.solve_ex(jacobian, away[..., None])[0].squeeze(-1).nan_to_num()
        # Far steps leave where the map is nearly linear, and the range of the noise.
        eps = eps - step / (step.norm(dim=-1, keepdim=True) / (1 + latent**0.5)).clamp_min(1.0)
    sample, jacobian = with_jacobian(module, h, eps)
    same = (sample.z - wanted.z).abs().amax(-1) <= 1e-9 * (1 + wanted.z.abs().amax(-1))
    apart = (eps - own).norm(dim=-1)
    # A slope near 0 lets two noises have nearly one z without a fold.
    steep = _least_slope(jacobian).minimum(_least_slope(slopes)) > 1e-4
    found = same & steep & (apart > 1e-2)
    return apart[found].min().item() if found.any() else None


def _least_slope(jacobian: Tensor) -> Tensor:
    least: Tensor = torch.linalg.svdvals(jacobian.nan_to_num()).amin(-1)
    return least
