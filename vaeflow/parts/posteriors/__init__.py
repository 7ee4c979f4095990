"""Built-in posteriors, one file per family."""

from vaeflow.parts.posteriors.full_gaussian import FullGaussian
from vaeflow.parts.posteriors.householder import Householder
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.mixture import Mixture
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.posteriors.radial import Radial
from vaeflow.parts.posteriors.realnvp import RealNVP
from vaeflow.parts.posteriors.spline import Spline

__all__ = [
    "IAF",
    "FullGaussian",
    "Householder",
    "Identity",
    "Mixture",
    "Planar",
    "Radial",
    "RealNVP",
    "Spline",
]
