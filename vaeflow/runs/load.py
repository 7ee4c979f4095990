"""A model from its run directory."""

from __future__ import annotations

from pathlib import Path

from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.build import build_model
from vaeflow.runs.directory import Run
from vaeflow.runtime.devices import choose_device
from vaeflow.training.checkpoints import Checkpoint, check_fit


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    weights: str = "best",
    plugins: Plugins | None = None,
) -> VAE:
    """Load the model of a run directory, in evaluation mode and without gradients.

    `model.requires_grad_(True)` lets it be trained further.

    Arguments:
        path: the run directory.
        device: "cpu", "cuda", …
        weights: "best" of the validation ELBO, or "last".
        plugins: where the run's parts are looked up; by default all that the environment selects.

    Raises:
        CheckpointError: if the directory holds no whole checkpoint.
        PluginError: if a part that it needs is not installed.
    """
    plugins = plugins or load_plugins()
    run = Run.open(Path(path))
    model = build_model(run.plan(plugins), tuple(run.environment["data_shape"]))
    load_weights(model, run.checkpoint(), weights)
    return model.to(choose_device(device)).eval().requires_grad_(False)


def load_weights(model: VAE, checkpoint: Checkpoint, weights: str) -> None:
    """Put the best or the last weights of a checkpoint into a model."""
    tensors = checkpoint.tensors
    chosen = tensors["best"] if weights == "best" and "best" in tensors else tensors["model"]
    check_fit(model, chosen)
    model.load_state_dict(chosen)
