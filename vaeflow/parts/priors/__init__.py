"""Built-in priors, one file per family."""

from vaeflow.parts.priors.flow import FlowPrior
from vaeflow.parts.priors.mixture import Mixture
from vaeflow.parts.priors.normal import Normal
from vaeflow.parts.priors.vamp import Vamp

__all__ = [
    "FlowPrior",
    "Mixture",
    "Normal",
    "Vamp",
]
