"""TensorBoard: the metrics of each epoch, pictures, the configuration and the final numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.config.flat import flatten
from vaeflow.model import VAE
from vaeflow.training.observers import Observer, Record


class TensorBoard(Observer):
    """Writes event files into the run directory.

    Arguments:
        directory: the run directory.
        config: the resolved configuration, written as text and as hyperparameters.
    """

    sees_pictures = True

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.directory = directory
        self.config = config
        self.last: Record = {}
        self.writer: Any = None  # opened at the start, when the first step is known

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Events that an interrupted run wrote after its last checkpoint are purged.
        self.writer = SummaryWriter(self.directory, purge_step=step + 1)
        if not step:
            text = json.dumps(self.config, indent=2)
            self.writer.add_text("config", f"```\n{text}\n```")
            self.writer.add_custom_scalars(_LAYOUT)

    def epoch(self, record: Record, model: VAE) -> None:
        step = record["step"]
        for name, value in record.items():
            if name not in ("epoch", "step", "seconds"):
                self.writer.add_scalar(_tag(name), value, step)
        self.last = record

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        self.writer.add_image(name, picture, step, dataformats="HWC" if picture.ndim == 3 else "HW")

    def finish(self, status: str, summary: Record) -> None:
        if self.last and status == "completed":
            metrics = {
                f"hparam/{k}": v
                for k, v in self.last.items()
                if k in ("train/elbo", "validation/elbo", "active_units")
            }
            options = flatten(self.config).items()
            hparams = {k: v if isinstance(v, int | float) else str(v) for k, v in options}
            # run_name="." keeps the hyperparameters in this run instead of a folder below it.
            self.writer.add_hparams(hparams, metrics, run_name=".")
        self.writer.close()


_TAGS = {
    "beta": "optimizer/beta",
    "lr": "optimizer/lr",
    "grad_norm": "optimizer/grad_norm",
    "images_per_second": "speed/images_per_second",
    "active_units": "latent/active_units",
    "undecided_units": "latent/undecided_units",
}
_LAYOUT = {
    "bound": {
        name: ["Multiline", [f"{name}/train", f"{name}/validation"]]
        for name in ("elbo", "log_px", "kl", "log_det")
    }
}


def _tag(name: str) -> str:
    """Turn "train/elbo" into "elbo/train": TensorBoard groups by the first word."""
    if name in _TAGS:
        return _TAGS[name]
    split, _, term = name.partition("/")
    return f"{term}/{split}"
