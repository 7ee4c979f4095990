"""What watches a training: the contract, the crew that calls it, and the metrics file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaeflow.errors import StorageError, VaeflowError, one_line
from vaeflow.model import VAE

Record = Mapping[str, Any]
log = logging.getLogger("vaeflow")


class Observer:
    """Sees epochs, not internals; what it draws at random does not reach the training.

    An exception in an observer mutes it with a warning that gives its `name`, and the training goes
    on; a `VaeflowError` stops the training.
    """

    @property
    def name(self) -> str:
        """Return what messages call this observer."""
        return type(self).__name__

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        """Training begins after `epoch` completed epochs and `step` steps."""

    def step(self, step: int) -> None:
        """A step was taken. Called only where a subclass overrides it; must not wait."""

    def epoch(self, record: Record, model: VAE) -> None:
        """An epoch ended; `record` is its line of metrics.jsonl."""

    def end(self, status: str) -> None:
        """Training ended: "completed", "interrupted" or "failed"."""


class Crew:
    """The observers of a run. One that fails is muted; a `VaeflowError` of one stops the run."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.active = list(observers)
        self.steppers = [o for o in observers if type(o).step is not Observer.step]

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:  # noqa: D102
        self._each(lambda o: o.start(epoch, step, epochs, steps_per_epoch))

    def step(self, step: int) -> None:  # noqa: D102
        for observer in self.steppers:
            observer.step(step)

    def epoch(self, record: Record, model: VAE) -> None:  # noqa: D102
        self._each(lambda o: o.epoch(record, model))

    def end(self, status: str) -> None:  # noqa: D102
        self._each(lambda o: o.end(status))

    def _each(self, call: Callable[[Observer], None]) -> None:
        for observer in list(self.active):
            try:
                call(observer)
            except VaeflowError:
                raise
            except (Exception, SystemExit) as error:
                log.warning("%s failed and is muted (%s)", observer.name, one_line(error))
                log.debug("its traceback", exc_info=True)
                self.active.remove(observer)
                self.steppers = [o for o in self.steppers if o is not observer]


class MetricsFile(Observer):
    """metrics.jsonl: one JSON object per epoch. A resumed run drops what it will do again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:  # noqa: D102
        kept = [line for line in read_metrics(self.path) if line["epoch"] <= epoch]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        temporary = self.path.with_suffix(".tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written ({error.strerror})") from None

    def epoch(self, record: Record, model: VAE) -> None:  # noqa: D102
        try:
            with open(self.path, "a", encoding="utf-8") as f:
                f.write(json.dumps(record, allow_nan=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then "
                f"`vaeflow resume {self.path.parent}`"
            ) from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a line torn by a crash, which can only be the last, is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
