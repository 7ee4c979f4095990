"""The state of a training, its time and its outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

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

    def load(self, other: Progress) -> None:
        """Go on from where another training stood."""
        for name, value in vars(other).items():
            setattr(self, name, value)

    @classmethod
    def of(cls, saved: object) -> Progress:
        """Return the progress that a checkpoint states.

        Raises:
            ValueError: naming the first number that no training could have.
        """
        if not isinstance(saved, Mapping):
            raise ValueError("there is none")
        known = {field.name: field.default for field in fields(cls)}
        for name in (*saved, *known):
            if name not in known:
                raise ValueError(f"this vaeflow does not know {name!r:.40}")
            if name not in saved and name not in _LATER:
                raise ValueError(f"{name} is missing")
            if not _possible(value := saved.get(name, known[name]), known[name]):
                raise ValueError(f"{name} is {value!r:.40}")
        found = cls(**saved)
        if found.best_epoch > found.epoch:
            raise ValueError(f"best_epoch is {found.best_epoch} of {found.epoch}")
        if found.step < found.epoch + found.batch:
            raise ValueError(f"step is {found.step} in epoch {found.epoch}, batch {found.batch}")
        if (found.best_epoch > 0) != (found.best_elbo is not None):
            raise ValueError(f"best_elbo is {found.best_elbo} in epoch {found.best_epoch}")
        return found


_LATER = ("skipped",)  # which older checkpoints lack


def _possible(value: object, like: object) -> bool:
    """Tell whether a number may be one of a training's, given what it is at the beginning."""
    if like is None:  # of either sign, or not yet known
        return value is None or (type(value) is float and math.isfinite(value))
    if not isinstance(value, int | float) or type(value) not in (int, type(like)):
        return False
    return 0 <= value < math.inf


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
