"""Ctrl-C and SIGTERM: a training stops after its step, a diagnosis at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal that ends the work at once; `code` is the exit code, 128 + its number."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class Stop:
    """The exit code of the newest signal, 128 + its number; 0 before any."""

    def __init__(self) -> None:
        self.code = 0

    def __call__(self) -> int:
        return self.code


@contextmanager
def interruptible(stop: Stop | None = None, *, once: bool = True) -> Iterator[Stop]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request to stop; a second acts at once.

    Not so without `once`: torchrun passes on a signal that its ranks may have had already, and
    kills a rank that takes too long.

    Raises:
        Interrupted: at a second signal; a third does what it did before the block.
    """
    stop, before = stop or Stop(), _handlers()

    def handle(number: int, frame: Any) -> None:
        first, stop.code = not stop.code, 128 + number
        if once and not first:
            _restore(before)
            raise Interrupted(stop.code)
        if once and sys.stderr.isatty():  # a step of a large model takes its time
            os.write(2, b"\nStopping after this step; a second Ctrl-C stops at once.\n")

    with _handled(before, handle):
        yield stop


@contextmanager
def stopped_at_once(stop: Stop | None = None) -> Iterator[Stop]:
    """Raise at Ctrl-C, SIGTERM or SIGHUP, a second time too, and at one that came before.

    Raises:
        Interrupted: with the exit code.
    """
    stop, before = stop or Stop(), _handlers()

    def handle(number: int, frame: Any) -> None:
        stop.code = 128 + number
        raise Interrupted(stop.code)

    with _handled(before, handle):
        if stop.code:
            raise Interrupted(stop.code)
        yield stop


@contextmanager
def _handled(
    before: Mapping[signal.Signals, Any], handle: Callable[[int, Any], None]
) -> Iterator[None]:
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _handlers() -> dict[signal.Signals, Any]:
    """Return what Ctrl-C, SIGTERM and SIGHUP do now, without those that are ignored.

    A signal that the parent ignores, as under nohup, stays ignored.
    """
    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}
