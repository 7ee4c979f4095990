"""Stacks of coupling or autoregressive maps, and maps run backwards."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vaeflow.maps.autoregressive import Autoregressive, AutoregressiveMap
from vaeflow.maps.coupling import Coupling, CouplingMap
from vaeflow.maps.univariate import Univariate
from vaeflow.nn.masked import Hidden

Form = Literal["coupling", "autoregressive"]
ConditionedMap = CouplingMap | AutoregressiveMap

_LAYERS: dict[Form, type[Coupling] | type[Autoregressive]] = {
    "coupling": Coupling,
    "autoregressive": Autoregressive,
}


class Stack(nn.Module):
    """T coupling or autoregressive maps, in an order of the dimensions that alternates.

    It starts as the identity. A latent size of 1 has no halves and is always autoregressive.

    Arguments:
        latent: L.
        features: F, the size of the context h, or 0 for none.
        univariate: the family of functions that the maps apply to each dimension.
        hidden: the hidden layers of the maps' networks.
        form: whether half of the dimensions or all dimensions before tell how one moves.
        steps: T.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        univariate: Univariate,
        hidden: Hidden,
        *,
        form: Form,
        steps: int,
    ) -> None:
        super().__init__()
        layer = _LAYERS[form] if latent > 1 else Autoregressive
        self.layers = nn.ModuleList(
            layer(latent, features, univariate, hidden, reverse=i % 2 == 1) for i in range(steps)
        )

    def forward(self, h: Tensor | None = None) -> list[ConditionedMap]:
        """Return the maps for features h (B, F), in the order in which they are applied."""
        return [layer(h) for layer in self.layers]


class Backwards:
    """The inverse of a map, as a map.

    Arguments:
        f: the map.
    """

    def __init__(self, f: ConditionedMap) -> None:
        self.f = f

    def __repr__(self) -> str:
        return f"Backwards({self.f!r})"

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, L) to the z0 with f(z0) = z, and the log|det| (*) of this."""
        z, log_det = self.f.inverse(z)
        return z, -log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the map by f; log|det| (*) is still that of f's inverse."""
        z, log_det = self.f(z)
        return z, -log_det
