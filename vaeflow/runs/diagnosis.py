"""The families of posteriors that a run is diagnosed with."""

from __future__ import annotations

from collections.abc import Collection

from vaeflow.config.settings import Config, PartConfig
from vaeflow.diagnosis.diagnose import GAUSSIAN, Family
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import build_posterior


def families(config: Config, plugins: Plugins, richer: Collection[str] = ()) -> dict[str, Family]:
    """Return the run's own family by name, then a flow's Gaussian, and the richer families.

    The own has the run's options, the others their defaults. By default a Gaussian's richer family
    is `planar`, and that of all others is `mixture`, which can be in several places at once: both
    give each image a q of its own.

    Raises:
        ConfigError: if there is no posterior of a name.
    """
    own = plugins.require("posterior", config.posterior.name)
    if not richer:
        richer = ["planar" if own.name in _NO_FLOWS else "mixture"]
    found = {plugins.registry.spelling(own): _family(config, plugins)}
    for name in (GAUSSIAN, *richer):
        try:
            part = plugins.require("posterior", name)
        except ConfigError as error:
            raise ConfigError(str(error).replace("--posterior", "--richer", 1)) from None
        other = config.model_copy(update={"posterior": PartConfig(name=part.qualified)})
        found.setdefault(plugins.registry.spelling(part), _family(other, plugins))
    return found


_NO_FLOWS = (GAUSSIAN, "full-gaussian", "householder", "mixture")


def _family(config: Config, plugins: Plugins) -> Family:
    return lambda features: build_posterior(config, plugins, features)
