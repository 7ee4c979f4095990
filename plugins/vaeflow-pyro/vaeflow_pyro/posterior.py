"""A conditional transform of Pyro, or of one's own, as a posterior.

Shapes: K samples, B batch, F features, L latent size.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from vaeflow.distributions import DiagonalNormal, StandardizedFlow
from vaeflow.parts import Posterior


class Transformed(Posterior):
    r"""q(z|x): a diagonal Gaussian whose noise passes through conditional transforms.

    .. math:: z = μ(h) + σ(h)\, T_n(… T_1(ε; h) …; h)

    A subclass returns a transform from `transform`. Log-determinants come with the forward pass,
    so that a transform needs no inverse; one that has one lets q score any z.

    Options:
        steps: number of transforms.
    """

    has_inverse: ClassVar[bool] = True

    def __init__(self, latent: int, features: int, *, steps: NonNegativeInt = 2) -> None:
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.transforms = nn.ModuleList(self.transform(latent, features) for _ in range(steps))

    @abstractmethod
    def transform(self, latent: int, features: int) -> Any:
        """Return a new `pyro.distributions.ConditionalTransformModule` of z (*, L), or its like.

        It has `condition(h)`, which returns a torch transform for features h (B, F). A class whose
        transforms have no inverse, such as planar ones, sets `has_inverse = False`.
        """

    def forward(self, h: Tensor) -> Distribution:
        base = DiagonalNormal(*self.head(h).chunk(2, dim=-1))
        kind = Invertible if self.has_inverse else Forward
        transforms: Any = self.transforms
        return StandardizedFlow(base, [kind(t.condition(h)) for t in transforms])


class Forward:
    """A torch transform of z (*, L) as a map: z -> (z, log|det|)."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = self.transform(z)
        return y, self._log_det(z, y)

    def _log_det(self, z: Tensor, y: Tensor) -> Tensor:
        term: Tensor = self.transform.log_abs_det_jacobian(z, y)
        return term if term.dim() < z.dim() else term.sum(-1)


class Invertible(Forward):
    """A torch transform that knows its inverse."""

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log|det ∂y/∂z|."""
        z = self.transform.inv(y)
        return z, self._log_det(z, y)
