"""The progress of a long computation, told to a bar of which the computation knows nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
