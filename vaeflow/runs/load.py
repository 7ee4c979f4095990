"""A model from its run directory."""

from __future__ import annotations

from pathlib import Path

from vaeflow.model import VAE
from vaeflow.pictures import span_of
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.paths import path_of


def load(
    path: str | Path | Run,
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
    run = path if isinstance(path, Run) else Run.open(path_of(path, "load"))
    return run.load(device=device, weights=weights, plugins=plugins)


def span_of_run(run: Run) -> tuple[float, float]:
    """Return the values that are black and white in pictures of a run's data."""
    low, high = run.environment.get("data_range", (0.0, 1.0))  # older runs do not tell
    return span_of(low, high)
