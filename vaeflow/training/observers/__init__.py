"""Observers of a training, and the crew that calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vaeflow.errors import ConfigError, VaeflowError, is_interrupt, one_line
from vaeflow.model import VAE
from vaeflow.plugins.containment import modes_kept
from vaeflow.training.observers.gallery import Gallery

Record = Mapping[str, Any]
log = logging.getLogger("vaeflow")


class Observer:
    """Sees the epochs of a training, and draws from a generator of its own.

    An exception in an observer mutes it with a warning under its `name`, and the training goes on;
    a `VaeflowError` stops the training. `sees_pictures` tells whether it is given pictures, which
    are drawn only where somebody is.
    """

    sees_pictures = False

    @property
    def name(self) -> str:
        """Return how messages call this observer."""
        return type(self).__name__

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        """Training begins after `epoch` completed epochs and `step` steps."""

    def step(self, step: int) -> None:
        """A step was taken. Called only where a subclass overrides it; it must not wait."""

    def epoch(self, record: Record, model: VAE) -> None:
        """An epoch ended; `record` is its line of metrics.jsonl."""

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """A picture was drawn after an epoch: (H, W) or (H, W, 3), 8 bits each."""

    def histogram(self, name: str, step: int, values: np.ndarray) -> None:
        """Numbers were measured beside the pictures. Called where a subclass overrides it."""

    def end(self, status: str) -> None:
        """Training ended: "completed", "interrupted" or "failed"."""

    def finish(self, status: str, summary: Record) -> None:
        """The run ended, with its final evaluation; `vaeflow.fit` makes no run.

        Arguments:
            status: "completed", "interrupted" or "failed".
            summary: as in summary.json; empty where there was no evaluation.
        """


def checked(observers: object) -> list[Observer]:
    """Return the observers that a caller gives.

    Raises:
        ConfigError: if it is no list of observers.
    """
    if isinstance(observers, Observer) or not isinstance(observers, list | tuple):
        raise ConfigError(
            f"observers is a {type(observers).__name__}, but a list of observers is expected: "
            "write observers=[…]"
        )
    for i, observer in enumerate(observers):
        if not isinstance(observer, Observer):
            told = observer.__name__ if isinstance(observer, type) else type(observer).__name__
            raise ConfigError(
                f"observers[{i}] is {told}, but an object of a subclass of "
                "vaeflow.training.Observer is expected: make one, with the methods that you need"
            )
    return list(observers)


class Crew:
    """The observers of a run. A failing one is muted; its `VaeflowError` stops the run."""

    def __init__(self, observers: Sequence[Observer], gallery: Gallery | None = None) -> None:
        self.active = list(observers)
        self.gallery = gallery or Gallery()
        self.started = False
        self.steppers = [o for o in observers if type(o).step is not Observer.step]

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.started = True
        self._each(lambda o: o.start(epoch, step, epochs, steps_per_epoch))

    def step(self, step: int) -> None:
        for observer in self.steppers:
            observer.step(step)
        if self.steppers and not torch.is_grad_enabled():  # to look costs next to nothing
            torch.set_grad_enabled(True)
            names = " or ".join(observer.name for observer in self.steppers)
            log.warning("%s turns gradients off after a step, which are on again", names)

    def epoch(self, record: Record, model: VAE) -> None:
        self._each(lambda o: o.epoch(record, model))
        epoch, step = record["epoch"], record["step"]
        if any(o.sees_pictures for o in self.active):
            for name, picture in self.gallery.drawn(epoch, model):
                self._show(name, step, picture)
        if any(type(o).histogram is not Observer.histogram for o in self.active):
            for name, values in self.gallery.measured(epoch, model):
                self._count(name, step, values)

    def _show(self, name: str, step: int, picture: np.ndarray) -> None:
        self._each(lambda o: o.picture(name, step, picture) if o.sees_pictures else None)

    def _count(self, name: str, step: int, values: np.ndarray) -> None:
        self._each(lambda o: o.histogram(name, step, values))

    def end(self, status: str) -> None:
        self._each(lambda o: o.end(status))

    def finish(self, status: str, summary: Record) -> None:
        if self.started:  # nobody is told of the end of what did not begin
            self._each(lambda o: o.finish(status, summary))

    def _each(self, call: Callable[[Observer], None]) -> None:
        for observer in list(self.active):
            try:
                with modes_kept(observer.name):
                    call(observer)
            except VaeflowError:
                raise
            except BaseException as error:
                if is_interrupt(error):
                    raise
                log.warning("%s failed and is muted (%s)", observer.name, one_line(error))
                log.debug("its traceback", exc_info=True)
                self.active.remove(observer)
                self.steppers = [o for o in self.steppers if o is not observer]
