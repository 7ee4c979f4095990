"""Ctrl-C and SIGTERM: a training stops after its step, a diagnosis at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """Becomes true at the first signal; `code` is then the exit code, 128 + its number."""

    def __init__(self) -> None:
        self.code = 0

    def __call__(self) -> bool:
        return self.code != 0


@contextmanager
def interruptible(stop: Stop | None = None, *, once: bool = True) -> Iterator[Stop]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request to stop; a second acts at once.

    Not so without `once`: torchrun passes on a signal that its ranks may have had already, and
    kills a rank that takes too long.
    """
    stop = stop or Stop()
    before = _handlers()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: Any) -> None:
        stop.code = 128 + number
        if once:
            restore()
            if sys.stderr.isatty():  # a step of a large model takes its time
                os.write(2, b"\nStopping after this step; a second Ctrl-C stops at once.\n")

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def stopped_at_once() -> Iterator[Stop]:
    """Raise KeyboardInterrupt at SIGTERM and SIGHUP as at Ctrl-C, a second time too."""
    stop, before = Stop(), _handlers()

    def handle(number: int, frame: Any) -> None:
        stop.code = 128 + number
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handlers() -> dict[signal.Signals, Any]:
    """Return what Ctrl-C, SIGTERM and SIGHUP do now, without those that are ignored.

    A signal that the parent ignores, as under nohup, stays ignored.
    """
    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}
