"""A configuration's parts, built: data, model, posterior."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import Tensor

from vaeflow.config.settings import Config
from vaeflow.data.binarization import prepare_split
from vaeflow.data.splits import Splits
from vaeflow.errors import PluginError, VaeflowError, one_line
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.plugins.loading import Plugins


def load_data(config: Config, plugins: Plugins) -> Splits:
    """Load the dataset that the configuration names.

    Raises:
        DataError: if it cannot be had.
        PluginError: if loading fails in another way.
    """
    part = plugins.require("dataset", config.dataset.name)
    dataset = _make(config, plugins, "dataset", config.data_root)
    try:
        splits = dataset.load()
    except VaeflowError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{part.owner} failed to load ({one_line(error)})") from error
    if not isinstance(splits, Splits):
        raise PluginError(f"{part.owner}: load() returned {type(splits).__name__}, not Splits")
    return splits


def build(config: Config, plugins: Plugins, data_shape: tuple[int, ...]) -> VAE:
    """Build the model that the configuration describes, for data of one shape."""
    likelihood = _make(config, plugins, "likelihood", data_shape)
    encoder = _make(config, plugins, "encoder", data_shape)
    return VAE(
        encoder=encoder,
        posterior=build_posterior(config, plugins, encoder.features),
        prior=_make(config, plugins, "prior", config.latent, data_shape),
        decoder=_make(config, plugins, "decoder", config.latent, likelihood.output_shape),
        likelihood=likelihood,
    )


def build_posterior(config: Config, plugins: Plugins, features: int) -> Posterior:
    """Build the posterior that the configuration names, for as many features."""
    posterior: Posterior = _make(config, plugins, "posterior", config.latent, features)
    return posterior


def images_of(splits: Splits, split: str, config: Config) -> Tensor:
    """Return one split as the run's likelihood scores it, binarized if the run is."""
    assert config.binarization != "auto", "prepare() resolves it, a run directory holds it so"
    return prepare_split(dict(splits)[split], config.binarization, config.dequantize)


def _make(config: Config, plugins: Plugins, kind: str, *args: Any) -> Any:
    """Build one part from its class, positional arguments and options."""
    chosen = config.parts()[kind]
    part = plugins.require(kind, chosen.name)
    try:
        made = part.load()(*args, **deepcopy(chosen.options))  # a part may change a list
    except VaeflowError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{part.owner} cannot be built ({one_line(error)}): --debug says where"
        ) from error
    for name in _ATTRIBUTES.get(kind, ()):
        if not hasattr(made, name):
            raise PluginError(
                f"{part.owner} has no {name!r} once it is built: call super().__init__ in its "
                "constructor, and set what its kind must have"
            )
    return made


# What the core reads off a part, beside calling it.
_ATTRIBUTES = {
    "encoder": ("data_shape", "features"),
    "posterior": ("latent", "features"),
    "prior": ("latent",),
    "decoder": ("latent", "output_shape"),
    "likelihood": ("data_shape", "output_shape", "support"),
    "objective": ("samples", "warmup", "warmup_unit"),
}
