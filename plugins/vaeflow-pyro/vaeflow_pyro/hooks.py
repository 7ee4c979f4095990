"""The likelihoods that this distribution offers, by name; using one imports it and Pyro."""

from __future__ import annotations

from collections.abc import Callable

from vaeflow import hookimpl

LIKELIHOODS = {
    "asymmetric-laplace": "AsymmetricLaplace",
    "beta": "Beta",
    "beta-binomial": "BetaBinomial",
    "binomial": "Binomial",
    "exponential": "Exponential",
    "gamma": "Gamma",
    "gamma-poisson": "GammaPoisson",
    "geometric": "Geometric",
    "half-normal": "HalfNormal",
    "inverse-gamma": "InverseGamma",
    "log-normal": "LogNormal",
    "logistic": "Logistic",
    "student-t": "StudentT",
    "von-mises": "VonMises",
    "weibull": "Weibull",
    "zero-inflated-negative-binomial": "ZeroInflatedNegativeBinomial",
    "zero-inflated-poisson": "ZeroInflatedPoisson",
}


@hookimpl
def vaeflow_register_likelihoods(register: Callable[[str, str], None]) -> None:
    """Offer `pyro-zero-inflated-poisson`, `pyro-von-mises`, `pyro-weibull` and so on."""
    for name, law in LIKELIHOODS.items():
        register(f"pyro-{name}", f"vaeflow_pyro.likelihoods:{law}")
