"""Built-in likelihoods, one file per family."""

from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.categorical import Categorical
from vaeflow.parts.likelihoods.columns import PerColumn
from vaeflow.parts.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vaeflow.parts.likelihoods.discretized_logistic import DiscretizedLogistic
from vaeflow.parts.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.likelihoods.laplace import Laplace
from vaeflow.parts.likelihoods.negative_binomial import NegativeBinomial
from vaeflow.parts.likelihoods.poisson import Poisson
from vaeflow.parts.likelihoods.student_t import StudentT

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "NegativeBinomial",
    "PerColumn",
    "Poisson",
    "StudentT",
]
