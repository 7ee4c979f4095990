"""The progress of a long computation, told to a bar of which the computation knows nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

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


@contextmanager
def terminal_bar(total: int, what: str, done: int = 0) -> Iterator[Advance]:
    """Open a bar on a terminal, and none elsewhere."""
    if not total or not on_terminal():
        yield unseen
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.description}")
    with Progress(BarColumn(bar_width=24), count, TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda done: bar.advance(task, done)
