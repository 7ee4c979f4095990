r"""Densities of the plane, as targets for posteriors alone.

U1 to U4 are the test energies of Rezende & Mohamed 2015, table 1: a ring with two modes, a wave,
and two waves that split in two. U2 to U4 have no end along z_1, so that only e^{−U1} can be
normalized. Here each stands between walls, V(z) = ½ Σ_i (max(0, |z_i| − 4)/0.4)²:

.. math:: \log p(z) = -U(z) - V(z) - \log Z

The density is the paper's inside |z_i| ≤ 4, and falls outside as steeply as the flanks of the
waves. Z is known to nine digits by quadrature, so that KL(q‖p) is in true nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import torch
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints

Name = Literal["u1", "u2", "u3", "u4"]
NAMES: tuple[Name, ...] = get_args(Name)

HALF_WIDTH = 4.0  # of the room between the walls
WALL = 0.4  # their scale
_REACH = HALF_WIDTH + 10 * WALL  # beyond it lies less than e^{−50}
_PEAK = math.log(2.0)  # at least −U: each e^{−U} is at most a sum of two numbers ≤ 1


def _wave(x: Tensor) -> Tensor:
    return torch.sin(2 * math.pi / 4 * x)


def _log_bell(x: Tensor, scale: float) -> Tensor:
    return -0.5 * (x / scale).square()


def _u1(x: Tensor, y: Tensor) -> Tensor:
    # hypot has no derivative at the origin, where this norm's is 0.
    radius = torch.linalg.vector_norm(torch.stack([x, y]), dim=0)
    ring = _log_bell(radius - 2, 0.4)
    return -ring - torch.logaddexp(_log_bell(x - 2, 0.6), _log_bell(x + 2, 0.6))


def _u2(x: Tensor, y: Tensor) -> Tensor:
    return -_log_bell(y - _wave(x), 0.4)


def _u3(x: Tensor, y: Tensor) -> Tensor:
    away, bump = y - _wave(x), 3 * _log_bell(x - 1, 0.6).exp()
    return -torch.logaddexp(_log_bell(away, 0.35), _log_bell(away + bump, 0.35))


def _u4(x: Tensor, y: Tensor) -> Tensor:
    away, step = y - _wave(x), 3 * torch.sigmoid((x - 1) / 0.3)
    return -torch.logaddexp(_log_bell(away, 0.4), _log_bell(away + step, 0.35))


_POTENTIALS: dict[Name, Callable[[Tensor, Tensor], Tensor]] = {
    "u1": _u1,
    "u2": _u2,
    "u3": _u3,
    "u4": _u4,
}


def potential(name: Name, z: Tensor) -> Tensor:
    """Return U(z) + V(z), (*, 2) to (*)."""
    beyond = (z.abs() - HALF_WIDTH).clamp_min(0) / WALL
    return _POTENTIALS[name](*z.unbind(-1)) + 0.5 * beyond.square().sum(-1)


def grid(side: int, reach: float = _REACH) -> Tensor:
    """Return side² points of the square |z_i| ≤ reach, (side, side, 2), z_1 along the last row."""
    ticks = torch.linspace(-reach, reach, side, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x, y], dim=-1)


@cache
def log_normalizer(name: Name, cells: int = 640) -> float:
    """Return log Z in nats, by the trapezoidal rule on cells² squares of the plane.

    The density has a kink at the edges of the walls; a multiple of 4 cells puts points there. 640
    cells are 1/40 wide and leave an error of 1e-9.
    """
    log_density = -potential(name, grid(cells + 1))
    return log_density.flatten().logsumexp(0).item() + 2 * math.log(2 * _REACH / cells)


class Energy(Distribution):
    """One of U1 to U4 as a normalized distribution of the plane: batch (), event (2,).

    Arguments:
        name: "u1", "u2", "u3" or "u4".
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)
    support = constraints.real_vector

    def __init__(self, name: Name) -> None:
        super().__init__(Size(), Size((2,)), validate_args=False)
        self.name = name
        self.log_normalizer = log_normalizer(name)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, 2)."""
        return -potential(self.name, value) - self.log_normalizer

    @torch.no_grad()
    def sample(
        self,
        sample_shape: Size | list[int] | tuple[int, ...] = (),
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw z (*, 2) by rejection from the square: exact, at a hundred proposals for one."""
        wanted = Size(sample_shape).numel()
        kept, count = [torch.empty(0, 2)], 0
        while count < wanted:
            u = torch.rand(100_000, 3, generator=generator)
            z = _REACH * (2 * u[:, :2] - 1)
            kept.append(z[u[:, 2].log() < -potential(self.name, z) - _PEAK])
            count += len(kept[-1])
        return torch.cat(kept)[:wanted].reshape(*sample_shape, 2)


def correlated_gaussian(correlation: float = 0.9) -> MultivariateNormal:
    """Return the Gaussian of unit variances and a correlation ρ, batch (), event (2,).

    The best diagonal Gaussian is −½ ln(1 − ρ²) away, KL(q‖p): 0.830 nats at ρ = 0.9.
    """
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    return MultivariateNormal(torch.zeros(2), covariance)
