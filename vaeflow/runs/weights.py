"""Weights of a checkpoint, put into a model."""

from __future__ import annotations

from vaeflow.model import VAE
from vaeflow.training.checkpoints import Checkpoint, check_fit


def load_weights(model: VAE, checkpoint: Checkpoint, weights: str) -> None:
    """Put the best or the last weights of a checkpoint into a model."""
    tensors = checkpoint.tensors
    chosen = tensors["best"] if weights == "best" and "best" in tensors else tensors["model"]
    check_fit(model, chosen)
    model.load_state_dict(chosen)
