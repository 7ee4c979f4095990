"""Runs that a script trains for itself, and keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vaeflow.config.layers import Layers
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.build import images_of, load_data
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import resume, train


def trained(path: Path, *, settings: Mapping[str, Any], posterior: Any) -> Path:
    """Return the run at a path: trained, resumed, or found finished."""
    plugins = load_plugins()
    if path.exists():
        resume(Run.open(path), plugins)
        return path
    layers = Layers()
    layers.add({**settings, "posterior": posterior}, "benchmark")
    return train(layers.resolve(plugins), path).run.path


def test_images(path: Path, count: int) -> Tensor:
    """Return the first test images of a run's data, binarized as evaluation sees them."""
    plan = Run.open(path).plan(load_plugins())
    return images_of(load_data(plan), "test", plan.config)[:count].values
