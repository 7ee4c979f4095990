"""A configuration's parts, built: data, model, posterior."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from vaeflow.config.layers import Plan
from vaeflow.config.settings import Config
from vaeflow.data.binarization import prepare_split
from vaeflow.data.columns import Columns
from vaeflow.data.conditioning import condition_on
from vaeflow.data.examples import Examples
from vaeflow.data.layout import dimensions_of
from vaeflow.data.splits import Form, Splits
from vaeflow.errors import ConfigError, PluginError, VaeflowError, one_line
from vaeflow.model import VAE, seen_shape
from vaeflow.nn.embedding import width_of
from vaeflow.parts.abstract import Posterior
from vaeflow.runtime.noise import Noise


def load_data(plan: Plan) -> Splits:
    """Load the data set that the plan names, with the covariates that it names.

    Raises:
        DataError: if it cannot be had, or lacks a covariate.
        PluginError: if loading fails in another way.
    """
    owner = plan.parts["dataset"].owner
    dataset = make(plan, "dataset", plan.config.data_root)
    try:
        splits = dataset.load()
    except VaeflowError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{owner} failed to load ({one_line(error)})") from error
    if not isinstance(splits, Splits):
        raise PluginError(f"{owner}: load() returned {type(splits).__name__}, not Splits")
    return condition_on(splits, plan.config.condition)


def build_model(plan: Plan, form: Form) -> VAE:
    """Build the model that the plan describes, for data of one form.

    Its weights are drawn from the plan's seed alone, and the caller's generator stays as it is.
    """
    with Noise(plan.config.seed, torch.device("cpu")).private("weights"):
        return _build(plan, form)


def _build(plan: Plan, form: Form) -> VAE:
    latent, missing = plan.config.latent, plan.config.missing == "mask"
    seen = seen_shape(form.shape, missing=missing)
    more = width_of([len(c.levels) for c in form.covariates])
    grid = {"dimensions": dimensions_of(form.shape)}  # of convolutions
    if form.columns:
        _check_no_grid(plan)
    likelihood = make(plan, "likelihood", form.shape, *_columns(plan, form))
    encoder = make(plan, "encoder", seen, known=grid)
    model = VAE(
        encoder=encoder,
        posterior=build_posterior(plan, encoder.features + more),
        prior=make(plan, "prior", latent, seen),
        decoder=make(plan, "decoder", latent + more, likelihood.output_shape, known=grid),
        likelihood=likelihood,
        scaling=plan.config.scaling,
        missing=missing,
        covariates=form.covariates,
    )
    model.columns = form.columns
    parts = plan.config.parts()
    model.chosen = {kind: parts[kind] for kind, _ in model.named_children() if kind in parts}
    return model


def _check_no_grid(plan: Plan) -> None:
    """Refuse convolutions over the columns of a table.

    Raises:
        ConfigError: naming the network that has some.
    """
    for kind in ("encoder", "decoder"):
        if "dimensions" in plan.config.parts()[kind].options:
            raise ConfigError(
                f"{plan.parts[kind].owner} convolves neighbouring values, but the columns of a "
                f"table are no neighbours: take --{kind} mlp"
            )


def _columns(plan: Plan, form: Form) -> tuple[Columns, ...]:
    """Return the columns of a table for a likelihood that takes them."""
    takes = getattr(plan.parts["likelihood"].load(), "takes_columns", False)
    return (form.columns,) if takes else ()


def build_posterior(plan: Plan, features: int) -> Posterior:
    """Build the posterior that the plan names, for as many features."""
    posterior: Posterior = make(plan, "posterior", plan.config.latent, features)
    return posterior


def images_of(splits: Splits, split: str, config: Config) -> Examples:
    """Return one split as the run's likelihood scores it, binarized if the run is."""
    assert config.binarization != "auto", "prepare() resolves it, a run directory holds it so"
    data, how = splits.examples(split), (config.binarization, config.dequantize)
    gaps = config.missing == "mask"
    return replace(data, x=prepare_split(data.x, *how, splits.place(split), gaps=gaps))


def make(plan: Plan, kind: str, *args: Any, known: Mapping[str, Any] | None = None) -> Any:
    """Build one part from its class, positional arguments and options.

    Arguments:
        known: values of options that are left to what vaeflow knows of the data, as None.

    Raises:
        PluginError: if its constructor fails, or leaves out an attribute of its kind.
    """
    part = plan.parts[kind]
    options = deepcopy(plan.config.parts()[kind].options)  # a part may change a list
    for name, value in (known or {}).items():
        if options.get(name, value) is None:
            options[name] = value
    try:
        made = part.load()(*args, **options)
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
                "constructor, and set the attributes of its kind"
            )
    return made


# The attributes of a part that the core reads.
_ATTRIBUTES = {
    "encoder": ("data_shape", "features"),
    "posterior": ("latent", "features"),
    "prior": ("latent",),
    "decoder": ("latent", "output_shape"),
    "likelihood": ("data_shape", "output_shape", "support"),
    "objective": ("samples", "warmup", "warmup_unit"),
}
