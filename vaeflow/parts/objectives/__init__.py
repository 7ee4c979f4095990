"""Built-in objectives: callables from the terms of the bound to one number per image, in nats."""

from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.objectives.iwae import IWAE, DReG
from vaeflow.parts.objectives.stl import STL

__all__ = [
    "ELBO",
    "IWAE",
    "STL",
    "DReG",
]
