"""Paths between two codes.

Shapes: S steps, L latent size.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from vaeflow.errors import ConfigError

PathKind = Literal["straight", "spherical"]
PATHS: tuple[PathKind, ...] = get_args(PathKind)
_PARALLEL = 1e-6  # the sine of an angle below which two directions are one, or opposite


def between(a: Tensor, b: Tensor, at: Tensor, path: PathKind = "straight") -> Tensor:
    r"""Return the codes (S, L) of a path from a to b (L,) at the shares `at` (S,) of it.

    A straight path is :math:`(1 - t)\,a + t\,b`. A spherical one turns from the direction of a to
    that of b by equal angles, while the norm goes evenly from one to the other (Shoemake 1985;
    White 2016): in many dimensions the codes lie near a sphere, and a straight path leaves it.

    Raises:
        ConfigError: if a and b point in opposite directions, between which no turn is the shortest.
    """
    t = at[:, None].to(a)
    straight: Tensor = (1 - t) * a + t * b
    lengths = torch.stack((a.norm(), b.norm()))
    if path == "straight" or not lengths.all():
        return straight
    first, last = a / lengths[0], b / lengths[1]
    cosine = (first @ last).clamp(-1, 1)
    # The sine of the whole angle as a length: accurate also for small angles.
    sine = (last - cosine * first).norm()
    if sine < _PARALLEL and cosine < 0:
        raise ConfigError(
            "--path spherical: the two codes are opposite, and no turn between them is the "
            "shortest; take --path straight"
        )
    if sine < _PARALLEL:
        return straight
    angle = torch.atan2(sine, cosine)
    turned: Tensor = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / sine
    return ((1 - t) * lengths[0] + t * lengths[1]) * turned
