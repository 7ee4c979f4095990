"""The families of posteriors that a run is diagnosed with."""

from __future__ import annotations

from collections.abc import Collection

from vaeflow.config.layers import Plan
from vaeflow.diagnosis.diagnose import Family
from vaeflow.diagnosis.local_bounds import GAUSSIAN
from vaeflow.errors import ConfigError
from vaeflow.runs.build import build_posterior


def families(plan: Plan, richer: Collection[str] = ()) -> dict[str, Family]:
    """Return the run's own family by name, then a flow's Gaussian, and the richer families.

    The own has the run's options, the others their defaults. By default a Gaussian's richer family
    is `planar`, and that of all others is `mixture`, which can be in several places at once: both
    give each image a q of its own.

    Raises:
        ConfigError: if there is no posterior of a name.
    """
    own, spelling = plan.parts["posterior"], plan.plugins.registry.spelling
    if not richer:
        richer = ["planar" if own.name in _NO_FLOWS else "mixture"]
    found = {spelling(own): _family(plan)}
    for name in (GAUSSIAN, *richer):
        try:
            other = plan.choosing("posterior", name)
        except ConfigError as error:
            raise ConfigError(str(error).replace("--posterior", "--richer", 1)) from None
        found.setdefault(spelling(other.parts["posterior"]), _family(other))
    return found


_NO_FLOWS = (GAUSSIAN, "full-gaussian", "householder", "mixture")


def _family(plan: Plan) -> Family:
    return lambda features: build_posterior(plan, features)
