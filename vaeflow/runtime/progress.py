"""The progress of a long computation, told to a bar of which the computation knows nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from vaeflow.runtime.notebook import Line, in_notebook

Advance = Callable[[float], None]  # called with the number of items finished since the last call


class OpenBar(Protocol):
    """Opens a bar over `total` items called `what`, of which `done` were finished before.

    The bar lasts as long as the context, which gives the function that advances it.
    """

    def __call__(self, total: int, what: str, done: int = 0) -> AbstractContextManager[Advance]:
        """Return the bar."""
        ...


def unseen(count: float) -> None:
    """Advance nothing."""


def no_bar(total: int, what: str, done: int = 0) -> AbstractContextManager[Advance]:
    """Open no bar."""
    return nullcontext(unseen)


_HIDDEN = ContextVar("hidden", default=False)


@contextmanager
def hidden(wanted: bool = True) -> Iterator[None]:
    """Open no bar within the block, if that is wanted."""
    token = _HIDDEN.set(_HIDDEN.get() or wanted)
    try:
        yield
    finally:
        _HIDDEN.reset(token)


def on_terminal() -> bool:
    """Tell whether bars are seen: whether the standard output is a terminal, and none is hidden.

    It may be closed, or not a file.
    """
    if _HIDDEN.get():
        return False
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):
        return False


def print_line(text: str) -> None:
    """Write a line to the standard output of the moment."""
    sys.stdout.write(f"{text}\n")


def bar_of(wanted: bool | None) -> OpenBar:
    """Return the bar of a call from Python: where a person sees it; in a log, lines if `wanted`."""
    if wanted is False:
        return no_bar
    logged = wanted and not in_notebook() and not on_terminal() and sys.stdout is not None
    return lines_of(print_line) if logged else terminal_bar


def lines_of(write: Callable[[str], object], every: float = 10.0) -> OpenBar:
    """Return a bar for a log: a line now and then.

    Arguments:
        write: takes a line.
        every: seconds between two lines; a computation that is shorter has none.
    """

    @contextmanager
    def lines(total: int, what: str, done: int = 0) -> Iterator[Advance]:
        state, due = float(done), time.monotonic() + every

        def advance(count: float) -> None:
            nonlocal state, due
            state += count
            if (now := time.monotonic()) >= due:
                due = now + every
                write(f"{state:,.0f} of {total:,} {what}")

        yield advance

    return lines


@contextmanager
def _notebook_bar(total: int, what: str, done: int) -> Iterator[Advance]:
    line, state, due = Line(), float(done), 0.0

    def advance(count: float) -> None:
        nonlocal state, due
        state += count
        if (now := time.monotonic()) >= due or state >= total:
            due = now + 0.5  # each change is a message to the browser
            line.show(state / total, f"{state:,.0f} of {total:,} {what}")

    try:
        yield advance
    finally:
        line.close()


@contextmanager
def terminal_bar(total: int, what: str, done: int = 0) -> Iterator[Advance]:
    """Open a bar on a terminal and in a notebook, and none elsewhere."""
    if total and in_notebook() and not _HIDDEN.get():
        with _notebook_bar(total, what, done) as advance:
            yield advance
        return
    if not total or not on_terminal():
        yield unseen
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.description}")
    with Progress(BarColumn(bar_width=24), count, TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda done: bar.advance(task, done)
