"""Training on tensors, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vaeflow.config.settings import Settings, settings_from
from vaeflow.data.binarization import Binarization
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.training.observers import Observer
from vaeflow.training.prepare import prepare_trainer
from vaeflow.training.progress import Fit


def fit(
    model: VAE,
    train: Tensor,
    validation: Tensor | None = None,
    *,
    objective: Objective | None = None,
    binarization: Binarization = "none",
    dequantize: int | None = None,
    observers: Sequence[Observer] = (),
    **settings: Any,
) -> Fit:
    """Train a model on tensors; `settings` are those of `vaeflow train`, such as `epochs=5`.

    The model ends with the weights of the last epoch; `Fit.best` holds those of the epoch with the
    best validation ELBO, ready for `model.load_state_dict`.

    Raises:
        ConfigError, DataError, PluginError, NonFiniteError: as `prepare_trainer` and `Trainer.run`.
    """
    trainer = prepare_trainer(
        model,
        train,
        validation,
        objective=objective,
        binarization=binarization,
        dequantize=dequantize,
        settings=settings_from(Settings, settings),
    )
    return trainer.run(observers)
