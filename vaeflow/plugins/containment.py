"""What a plugin's code cannot take from the process that runs it: its life, its output, its modes.

Plugins are code, and trusted: this is no protection from malice, but from accidents. Nothing here
imports torch, as listing the parts does not either.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

log = logging.getLogger("vaeflow")
SLOW = 10.0  # seconds of an import after which a line tells whose it is
ENDLESS = 60.0  # seconds after which `vaeflow plugins check` ends an import


@contextmanager
def importing(name: str, patience: float | None = None) -> Iterator[None]:
    """Import a plugin, called `name` in messages, within the block.

    What it prints goes to stderr, as stdout may be a table or JSON. An import that takes long is
    told of; only one that is given no more than `patience` seconds is ended, where the system has
    SIGALRM and this is the main thread.

    Raises:
        RuntimeError: if it closes stdout or stderr.
        TimeoutError: if it takes longer than `patience`.
        SystemExit: in place of an `os._exit`, which would end the process without a word.
    """
    timer = threading.Timer(
        SLOW,
        log.warning,
        ("%s takes long to import: to leave out all plugins, give --no-plugins", name),
    )
    timer.daemon = True
    timer.start()
    try:
        with ExitStack() as held:
            held.enter_context(modes_kept(name))
            held.enter_context(_checks_kept())
            held.enter_context(streams_kept())
            held.enter_context(contextlib.redirect_stdout(sys.stderr))
            held.enter_context(no_exit())
            if patience is not None:
                held.enter_context(_ended_after(patience))
            yield
    finally:
        timer.cancel()


@contextmanager
def no_exit() -> Iterator[None]:
    """Turn `os._exit` within the block into a SystemExit, except in a forked child or thread."""
    real, process, thread = os._exit, os.getpid(), threading.current_thread()
    within = True

    def refuse(status: int) -> Any:
        if within and os.getpid() == process and threading.current_thread() is thread:
            raise SystemExit(f"it calls os._exit({status})")
        real(status)

    os._exit = refuse
    try:
        yield
    finally:
        within = False  # code may keep the name
        os._exit = real


@contextmanager
def streams_kept() -> Iterator[None]:
    """Open stdout and stderr again where the block closes them.

    Raises:
        RuntimeError: if it did.
    """
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    copies = {name: _copy(stream) for name, stream in before.items()}
    error = None
    try:
        yield
    except BaseException as caught:
        error = caught
    lost = [name for name, stream in before.items() if not _kept(name, stream, copies[name])]
    if lost:  # it may be why the block failed
        raise RuntimeError(f"it closes {' and '.join(lost)} of the process") from error
    if error is not None:
        raise error


def _copy(stream: Any) -> tuple[int, int] | None:
    """Return a stream's descriptor and a copy of it, if it has one."""
    try:
        descriptor = stream.fileno()
        return descriptor, os.dup(descriptor)
    except (AttributeError, OSError, ValueError):  # such as a StringIO, or None
        return None


def _kept(name: str, stream: Any, copy: tuple[int, int] | None) -> bool:
    """Put a stream back in its place; return whether it had stayed open."""
    closed = bool(getattr(stream, "closed", False))
    if copy is None:
        return not closed
    descriptor, spare = copy
    whole = not closed and _is_open(descriptor)
    if not whole:
        os.dup2(spare, descriptor)
    os.close(spare)
    if closed:
        encoding = getattr(stream, "encoding", None)
        stream = open(descriptor, "w", encoding=encoding, buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    return whole


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def modes_kept(name: str) -> Iterator[None]:
    """Put back the modes of the process that the block changes, and warn under its `name`."""
    before = {mode: get() for mode, (get, _) in _modes().items()}
    try:
        yield
    finally:
        for mode, (get, put) in _modes().items():
            # torch may be imported within, and its modes be new.
            if mode in before and get() != before[mode]:
                put(before[mode])
                log.warning("%s changes %s, which is put back", name, mode)


def _modes() -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Return how to get and to put each mode; torch's, where it is imported."""
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "the working directory": (_directory, os.chdir)
    }
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "get_num_threads"):
        found |= {
            "torch's mode of gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
            "torch's default type": (torch.get_default_dtype, torch.set_default_dtype),
            "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
        }
    return found


@contextmanager
def _checks_kept() -> Iterator[None]:
    """Put back whether torch checks the arguments of distributions, without a word.

    Importing Pyro switches it on, importing zuko off: no fault of a plugin, and not to decide.
    """
    before = _checks()
    try:
        yield
    finally:
        if (law := _law()) is not None:
            law.set_default_validate_args(before)


def _checks() -> bool:
    law = _law()
    return __debug__ if law is None else bool(law._validate_args)


def _law() -> Any:
    """Return torch's class of distributions, where it is imported."""
    return getattr(sys.modules.get("torch.distributions"), "Distribution", None)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")):
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise TimeoutError(f"its import takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
