"""TensorBoard: the curves of a run, its pictures and histograms, its codes and its final figures.

A run of vaeflow is three runs of TensorBoard, so that each chart shows both data in two colours:
"train"; "validation", with all that is drawn of held-out data; and "final" once it is over.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.errors import StorageError
from vaeflow.model import VAE
from vaeflow.training.observers import Observer, Record
from vaeflow.training.observers.metrics_file import read_metrics
from vaeflow.training.observers.projector import Points, write_points

_TAGS = {
    "beta": "optimizer/beta",
    "lr": "optimizer/lr",
    "grad_norm": "optimizer/grad_norm",
    "images_per_second": "speed/examples_per_second",
    "active_units": "latent/active_units",
    "undecided_units": "latent/undecided_units",
}
log = logging.getLogger("vaeflow")
_UNSHOWN = ("epoch", "step", "seconds")


class TensorBoard(Observer):
    """Writes event files into folders of the run directory.

    Arguments:
        directory: the run directory, which holds metrics.jsonl.
        config: the resolved configuration, written as text.
        hparams: name -> value, the columns of the tab HPARAMS.
        points: returns the codes of the projector, when the run is complete.
    """

    sees_pictures = True

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        hparams: Mapping[str, float | str],
        points: Callable[[], Points],
    ) -> None:
        self.directory = directory
        self.config = config
        self.hparams = hparams
        self.points = points
        self.writers: dict[str, Any] = {}  # opened at the start, when the first step is known

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        for name in ("train", "validation"):
            # Events that an interrupted run wrote after its last checkpoint are purged.
            self.writers[name] = _writer(self.directory / name, purge_step=step + 1)
        if not step:
            text = json.dumps(self.config, indent=2)
            self.writers["train"].add_text("config", f"```\n{text}\n```")

    def epoch(self, record: Record, model: VAE) -> None:
        for name, value in record.items():
            if name not in _UNSHOWN:
                run, tag = _place(name)
                self.writers[run].add_scalar(tag, value, record["step"])

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        layout = "HWC" if picture.ndim == 3 else "HW"
        self.writers["validation"].add_image(f"pictures/{name}", picture, step, dataformats=layout)

    def histogram(self, name: str, step: int, values: np.ndarray) -> None:
        finite = values[np.isfinite(values)]
        if finite.size:
            self.writers["validation"].add_histogram(name, finite, step)

    def finish(self, status: str, summary: Record) -> None:
        for writer in self.writers.values():
            writer.close()
        if status != "completed" or not summary:
            return
        records = read_metrics(self.directory / "metrics.jsonl")
        last = records[-1] if records else {"step": 1}
        best = next((r for r in records if r["epoch"] == summary.get("best_epoch")), last)
        self._write_final(_final(summary, best), last["step"])
        try:
            write_points(self.points(), self.directory / "validation")
        except StorageError as error:  # the run is whole without it
            log.warning("the projector has no codes: %s", error)

    def _write_final(self, figures: Mapping[str, Mapping[str, float]], last: int) -> None:
        """Write the figures of the evaluated weights as level lines, and the hyperparameters.

        They are in runs of their own below that of the hyperparameters: TensorBoard takes all
        curves there, and no others, for the columns of results.
        """
        from torch.utils.tensorboard.summary import hparams

        final = self.directory / "final"
        for old in final.rglob("events.out.tfevents.*"):  # of a run that went on
            old.unlink()
        with closing(_writer(final)) as writer:
            _, begin, end = hparams(dict(self.hparams), {})
            for summary_of in (begin, end):
                writer.file_writer.add_summary(summary_of)
        for name, found in figures.items():
            with closing(_writer(final / name)) as writer:
                for tag, value in found.items():
                    for step in (0, last):
                        writer.add_scalar(tag, value, step)


def _writer(folder: Path, **options: Any) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), **options)


def _final(summary: Record, record: Record) -> dict[str, dict[str, float]]:
    """Return the figures of the evaluated weights: "test" or "validation" -> tag -> value.

    Arguments:
        summary: of their evaluation on test data.
        record: of the epoch that they are of.
    """
    test = {f"bound/{k}": summary[k]["mean"] for k in ("nll", "elbo", "kl") if summary.get(k)}
    shown = ("validation/elbo", "validation/kl", "active_units")
    validation = {_place(name)[1]: record[name] for name in shown if name in record}
    return {
        run: {tag: v for tag, v in found.items() if v is not None and math.isfinite(v)}
        for run, found in {"test": test, "validation": validation}.items()
    }


def _place(name: str) -> tuple[str, str]:
    """Turn a name of metrics.jsonl into the run and the tag of its curve."""
    if name in _TAGS:
        tag = _TAGS[name]
        return "validation" if tag.startswith("latent/") else "train", tag
    split, _, term = name.partition("/")
    return split, f"bound/{term}"
