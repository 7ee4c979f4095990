"""TensorBoard: the metrics of each epoch, pictures, the configuration and the final numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vaeflow.config.flat import flatten
from vaeflow.data.examples import Data, as_examples
from vaeflow.model import VAE
from vaeflow.pictures import draw, is_drawable
from vaeflow.training.observers import Observer, Record

_PAIRS = 16  # images in a picture of reconstructions
_SAMPLES = 64


class TensorBoard(Observer):
    """Writes event files into the run directory.

    Arguments:
        directory: the run directory.
        config: the resolved configuration, written as text and as hyperparameters.
        images: held-out images to reconstruct.
        every: epochs between pictures; 0 for none.
        span: the values that are black and white in pictures.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        images: Data,
        every: int,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.directory = directory
        self.config = config
        data = as_examples(images)
        self.images = data[:_PAIRS].read()
        self.beside = data[torch.arange(_SAMPLES) % len(data)].read()
        self.every = every if is_drawable(tuple(images.shape[1:])) else 0
        self.span = span
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
        if self.every and (record["epoch"] == 1 or record["epoch"] % self.every == 0):
            x = self.images.to(model.device)
            pairs = draw(x.values, model.reconstruct(x), span=self.span, across=4)
            self.writer.add_image("reconstructions", pairs, step)
            samples = model.sample(_SAMPLES, condition=self.beside)
            self.writer.add_image("samples", draw(samples, span=self.span), step)

    def end(self, status: str) -> None:
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
