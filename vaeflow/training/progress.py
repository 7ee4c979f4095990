"""The state of a training, its time and its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vaeflow.training.observers import Record

Weights = dict[str, Tensor]


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0  # completed epochs
    batch: int = 0  # steps taken in the epoch after them
    step: int = 0  # steps in all, skipped ones included
    skipped: int = 0  # steps that changed nothing, as a loss or a gradient was not finite
    best_epoch: int = 0
    best_elbo: float | None = None  # of the validation data
    seconds: float = 0.0  # spent in earlier processes

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from where another training stood."""
        for name, value in vars(Progress(**saved)).items():
            setattr(self, name, value)


class Stopwatch:
    """Counts seconds from its start, on top of `before`."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.monotonic() - before

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.monotonic() - self._start


@dataclass
class Fit:
    """The outcome of a training."""

    status: str  # "completed", "interrupted" or, until it ends, "failed"
    progress: Progress
    # Of the epoch with the best validation ELBO; of the last epoch without validation.
    best: Weights = field(repr=False)
    # One per epoch of this process.
    records: list[Record] = field(default_factory=list, repr=False)
