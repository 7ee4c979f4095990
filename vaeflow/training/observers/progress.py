"""The progress of a training, as a bar or as lines of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vaeflow.data.layout import called
from vaeflow.model import VAE
from vaeflow.runtime.notebook import Line, in_notebook
from vaeflow.runtime.progress import on_terminal, print_line
from vaeflow.training.observers import Observer, Record


def line(record: Record, epochs: int, model: VAE) -> str:
    """Return an epoch's record as one line of text."""
    words = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    words.append(f"loss {record['train/loss']:.2f}")
    words.append(f"train ELBO {record['train/elbo']:.2f}")
    if "validation/elbo" in record:
        words.append(f"validation ELBO {record['validation/elbo']:.2f}")
        words.append(f"KL {record['validation/kl']:.2f}")
    if record["beta"] != 1:
        words.append(f"β {record['beta']:.2f}")
    words.append(f"{record['images_per_second']:,.0f} {called(model.data_shape)}s/s")
    return "  ".join(words)


def shown(wanted: bool | None) -> list[Observer]:
    """Return the observers that show progress: a bar to a person; to a log, lines if `wanted`."""
    if wanted is False:
        return []
    if in_notebook():
        return [NotebookBar()]
    if on_terminal():
        return [Bar()]
    return [Lines(print_line)] if wanted and sys.stdout is not None else []


class Lines(Observer):
    """One plain line per epoch, for logs.

    Arguments:
        write: takes a line of text, such as `print`.
    """

    name = "the line per epoch"

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
        self.epochs = 0

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs

    def epoch(self, record: Record, model: VAE) -> None:
        self.write(line(record, self.epochs, model))


class Bar(Observer):
    """A progress bar over all steps, with the newest figures."""

    name = "the progress bar"

    def __init__(self) -> None:
        self.epochs = 0
        self.due = 0.0  # when the bar moves next, in seconds of the monotonic clock
        self.bar = Progress(
            BarColumn(bar_width=24), TextColumn("{task.description}"), TimeRemainingColumn()
        )
        self.task = self.bar.add_task("")

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs
        total = epochs * steps_per_epoch
        self.bar.update(
            self.task, description=f"epoch {epoch}/{epochs}", total=total, completed=step
        )
        self.bar.start()

    def step(self, step: int) -> None:
        if (now := time.monotonic()) >= self.due:  # ten times a second is enough for an eye
            self.due = now + 0.1
            self.bar.update(self.task, completed=step)

    def epoch(self, record: Record, model: VAE) -> None:
        text = line(record, self.epochs, model)
        self.bar.update(self.task, completed=record["step"], description=text)

    def end(self, status: str) -> None:
        self.bar.stop()


class NotebookBar(Observer):
    """A bar in one line of a notebook, which needs no extension."""

    name = "the progress bar"

    def __init__(self) -> None:
        self.epochs = 0
        self.total = 1  # steps
        self.text = ""
        self.due = 0.0
        self.line = Line()

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.epochs, self.total = epochs, epochs * steps_per_epoch
        self.text = f"epoch {epoch}/{epochs}"
        self.line = Line()
        self._draw(step)

    def step(self, step: int) -> None:
        if (now := time.monotonic()) >= self.due:
            self.due = now + 0.5  # each change is a message to the browser
            self._draw(step)

    def epoch(self, record: Record, model: VAE) -> None:
        self.text = line(record, self.epochs, model)
        self._draw(record["step"])

    def end(self, status: str) -> None:
        self.line.close()

    def _draw(self, step: int) -> None:
        self.line.show(step / self.total, self.text)
