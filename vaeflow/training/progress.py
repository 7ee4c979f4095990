"""Where a training stands, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vaeflow.training.observers import Record

Weights = dict[str, Tensor]


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0  # completed epochs
    batch: int = 0  # steps taken in the epoch after them
    step: int = 0  # steps in all
    best_epoch: int = 0
    best_elbo: float | None = None  # of the validation data
    seconds: float = 0.0  # spent in earlier processes


@dataclass
class Fit:
    """The outcome of a training."""

    status: str  # "completed" or "interrupted"
    progress: Progress
    best: Weights  # of the epoch with the best validation ELBO; the last without validation
    records: list[Record] = field(default_factory=list)  # one per epoch of this process
