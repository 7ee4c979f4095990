"""Weights of a checkpoint, put into a model."""

from __future__ import annotations

from typing import get_args

from vaeflow.errors import ConfigError
from vaeflow.evaluation.options import Weights
from vaeflow.model import VAE
from vaeflow.training.checkpoints import Checkpoint, check_fit


def load_weights(model: VAE, checkpoint: Checkpoint, weights: str) -> None:
    """Put the best or the last weights of a checkpoint into a model.

    Raises:
        ConfigError: if other weights are asked for.
        CheckpointError: if the weights do not fit the model.
    """
    if weights not in get_args(Weights):
        raise ConfigError(f"weights is {weights!r}, but 'best' or 'last' is expected")
    chosen = checkpoint.weights(weights)
    check_fit(model, chosen)
    model.load_state_dict(chosen)
