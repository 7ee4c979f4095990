"""A plan made ready to train: its data loaded, its model built, and both checked."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch

from vaeflow.config.layers import Plan
from vaeflow.config.settings import Config
from vaeflow.data.binarization import resolve_binarization
from vaeflow.data.checks import check_table, check_values
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import ends, has_gaps
from vaeflow.errors import DataError
from vaeflow.model import VAE
from vaeflow.runs.build import build_model, images_of, load_data, make
from vaeflow.runtime.ranks import World
from vaeflow.training import Trainer, prepare_trainer

log = logging.getLogger("vaeflow")


@dataclass(frozen=True)
class Experiment:
    """A plan with its data loaded and its model built; nothing is on disk yet."""

    plan: Plan
    splits: Splits
    trainer: Trainer

    @property
    def config(self) -> Config:
        """Return the configuration, with everything that was "auto" decided."""
        return self.plan.config

    @property
    def model(self) -> VAE:
        """Return the model."""
        return self.trainer.model


def prepare(plan: Plan) -> Experiment:
    """Load the data, build the model and check both, before anything is written.

    Raises:
        ConfigError, DataError, PluginError: as the parts and the data call for.
    """
    began = time.monotonic()
    splits = load_data(plan)
    log.debug("%s: loaded in %.2f s", splits, time.monotonic() - began)
    plan = plan.but(missing=_missing(plan.config.missing, splits))
    model = build_model(plan, splits.form)
    objective = make(plan, "objective")
    wanted = plan.config.binarization
    if wanted == "auto" and plan.config.dequantize is not None:
        wanted = "none"
    plan = plan.but(
        binarization=resolve_binarization(
            wanted,
            splits.kept("train"),
            model.likelihood.support,
            splits.place("train"),
            gaps=model.missing,
        ),
        scaling=model.scaling.kind,
    )
    config = plan.config
    assert config.binarization != "auto"
    by_column = hasattr(model.likelihood.support, "needs_at")
    if splits.columns and config.binarization == "none" and not by_column:
        check_table(splits.kept("train"), model.likelihood.support, splits.place("train"))
    trainer = prepare_trainer(
        model,
        splits.examples("train"),
        splits.examples("validation"),
        objective=objective,
        binarization=config.binarization,
        dequantize=config.dequantize,
        settings=config,
        owners={kind: part.owner for kind, part in plan.parts.items()},
        places=splits.places,
    )
    if config.start_at_mean:
        # Of binary draws, their grey mean is the mean.
        grey = config.binarization == "dynamic"
        model.start_at_mean(splits.kept("train") if grey else images_of(splits, "train", config).x)
    test, place = images_of(splits, "test", config).x, splits.place("test")
    support = model.likelihood.support
    check_values("test", test, splits.data_shape, support, place, gaps=model.missing)
    count = sum(p.numel() for p in model.parameters())
    log.debug("a model of %d parameters, binarization %s", count, config.binarization)
    return Experiment(plan, splits, trainer)


def _missing(wanted: str, splits: Splits) -> str:
    """Return whether missing values are masked or refused."""
    if wanted != "auto":
        return wanted
    gaps = splits.gaps and any(has_gaps(splits.kept(name)) for name in NAMES)
    return "mask" if gaps else "refuse"


def facts_of(experiment: Experiment, world: World) -> dict[str, Any]:
    """Return the facts that join the versions in environment.json."""
    sha256 = experiment.splits.fingerprint()
    if not world.same(int(sha256[:15], 16)):
        raise DataError("the ranks hold different data: give every machine the same files")
    return {
        "threads": torch.get_num_threads(),
        "ranks": world.count,
        "data_shape": experiment.splits.data_shape,
        "data_sizes": experiment.splits.sizes(),
        "data_range": ends(experiment.splits.kept("train")),
        "data_sha256": sha256,
        "columns": experiment.splits.columns.as_list(),
        "covariates": experiment.splits.covariates.as_list(),
    }
