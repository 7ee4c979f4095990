"""Training on arrays, in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from vaeflow.config.layers import part_table
from vaeflow.config.settings import PartConfig, Settings, settings_from
from vaeflow.config.signature import documented
from vaeflow.data.binarization import Binarization, checked_levels, resolve_binarization
from vaeflow.data.examples import Examples
from vaeflow.data.places import Place, in_array
from vaeflow.data.splits import Splits
from vaeflow.data.stored import chunks
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.arrays import check_model, given
from vaeflow.model import VAE
from vaeflow.model.frames import is_frame, like_model
from vaeflow.options import validate
from vaeflow.parts.abstract import Objective
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.runtime.devices import cpu_threads
from vaeflow.text import html_table, show
from vaeflow.training.observers import Observer, checked
from vaeflow.training.observers.progress import shown
from vaeflow.training.prepare import prepare_trainer
from vaeflow.training.progress import Fit


@dataclass(kw_only=True, repr=False)
class Fitted(Fit):
    """The outcome of `fit`: the model with its best weights, and all that it was fitted with."""

    model: VAE
    settings: Settings
    objective: PartConfig | None  # None for one that was not chosen by name
    binarization: Binarization
    dequantize: int | None
    data_sizes: Mapping[str, int]
    data_sha256: str
    selected_by: str = "ELBO"

    def __repr__(self) -> str:
        done = self.progress
        best = "no validation data"
        if done.best_elbo is not None:
            by = f"best validation {self.selected_by}"
            best = f"{by} {done.best_elbo:.2f} in epoch {done.best_epoch}"
        epochs = "1 epoch" if done.epoch == 1 else f"{done.epoch} epochs"
        return f"Fitted({self.status} after {epochs}, {best}, {done.seconds:.1f} s)"

    def _repr_html_(self) -> str:
        shown = {"epoch": "epoch", "train/elbo": "train ELBO", "validation/elbo": "validation ELBO"}
        shown |= {"validation/kl": "validation KL", "active_units": "active units"}
        known = [name for name in shown if any(name in record for record in self.records)]
        best = self.progress.best_epoch
        records = [r for r in self.records if r["epoch"] == best] + self.records[-1:]
        rows = [[show(round(r[name], 2)) for name in known if name in r] for r in records]
        return html_table(repr(self), rows, [shown[name] for name in known])


@documented(Settings.model_fields)
def fit(
    model: VAE,
    x: object,
    validation: object = None,
    *,
    objective: str | tuple[str, Mapping[str, Any]] | Objective = "elbo",
    binarization: Literal["auto"] | Binarization = "auto",
    dequantize: int | None = None,
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
    **settings: Any,
) -> Fitted:
    """Train a model on arrays. It ends with the weights of the best validation ELBO.

    Under a bound of several samples, they are those of its own best value. Without validation data,
    or where all epochs lie within the objective's warm-up, it ends with the weights of the last
    epoch.

    Arguments:
        model: trained in place, on the device that the settings name.
        x: training data (N, *data_shape), a NumPy array or a tensor, or `model.examples(…)` with
            its covariates and weights; or the splits of a data set.
        validation: held-out data of the same shape, or None; of splits, their own.
        objective: its name, its name with options, as ("iwae", {"samples": 5}), or an Objective.
        binarization: "auto" draws x ~ Bernoulli(grey value) anew at each visit for grey data under
            a binary likelihood, and leaves other data alone; "none", "dynamic" and "threshold"
            choose.
        dequantize: levels of grey data, spread by new uniform noise at each visit, or None.
        observers: objects of subclasses of `vaeflow.training.Observer`.
        progress: show progress: by default on a terminal and in a notebook.

    Returns:
        The records of all epochs and the model, which `vaeflow.save` writes as a run directory.

    Raises:
        ConfigError: if a setting or an argument cannot be used.
        DataError: if the likelihood cannot score the data.
        PluginError: naming a part that fails.
        NonFiniteError: if the loss is NaN or infinite.
    """
    places: Mapping[str, Place] = {"train": in_array("x"), "validation": in_array("validation")}
    if isinstance(x, Splits):
        x = like_model(x, model.form)
        validation = x.examples("validation") if validation is None else validation
        places, x = x.places or places, x.examples("train")
    train = _given(model, "x", x)
    held_out = None if validation is None else _given(model, "validation", validation)
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(
            "no parameter of the model is trained: model.requires_grad_(True) lets a loaded model "
            "be fitted"
        )
    watching = [*shown(progress), *checked(observers)]
    made, chosen = _objective(objective)
    dequantize = checked_levels(dequantize)
    for kind in set(settings) & set(KINDS):
        raise ConfigError(f"fit: {kind} is a part of the model: choose it in vaeflow.build")
    if binarization == "auto":
        support = model.likelihood.support
        binarization = "none"
        if not dequantize:
            binarization = resolve_binarization("auto", train.x, support, gaps=model.missing)
    how = settings_from(Settings, settings)
    with cpu_threads(how.threads):
        trainer = prepare_trainer(
            model,
            train,
            held_out,
            objective=made,
            binarization=binarization,
            dequantize=dequantize,
            settings=how,
            places=places,
        )
        result = trainer.run(watching)
    model.load_state_dict(result.best)
    sizes = {"train": len(train), "validation": 0 if held_out is None else len(held_out)}
    return Fitted(
        status=result.status,
        progress=result.progress,
        best=result.best,
        records=result.records,
        model=model.eval(),
        settings=how,
        objective=chosen,
        binarization=binarization,
        dequantize=dequantize,
        data_sizes=sizes,
        data_sha256=_fingerprint(train, held_out),
        selected_by=made.selects_by,
    )


def _given(model: VAE, name: str, x: object) -> Examples:
    """Return data as examples; a data frame does not tell which of its rows are for training."""
    check_model(model)
    if model.columns and is_frame(x):
        raise DataError(
            f"{name} is a data frame, but fit takes splits or examples: give model.examples(frame) "
            "to take all of its rows, or build a model for the splits "
            "vaeflow.datasets.Table.of(frame) and give those"
        )
    return given(model, name, x)


def _objective(
    given: str | tuple[str, Mapping[str, Any]] | Objective,
) -> tuple[Objective, PartConfig | None]:
    """Return the objective, and by which name and options it was chosen, if by any."""
    if isinstance(given, Objective):
        return given, None
    table = part_table("objective", given, "fit")
    part = load_plugins().require("objective", table.pop("name"))
    options = {key.replace("-", "_"): value for key, value in table.items()}
    options = validate(part.load(), options, "objective")
    made: Objective = part.load()(**options)
    return made, PartConfig(name=part.qualified, options=options)


def _fingerprint(train: Examples, validation: Examples | None) -> str:
    digest = hashlib.sha256()
    for data in (train, validation):
        for x in (data.x, data.condition, data.weight) if data is not None else ():
            if x is not None:
                digest.update(str(tuple(x.shape)).encode())
                for _, part in chunks(x):
                    flat = part.cpu().contiguous().view(-1)
                    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
