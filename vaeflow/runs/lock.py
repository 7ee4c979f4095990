"""The lock of a run directory: one process writes.

It belongs to the open file, as flock(2) gives it: code of the process that opens and closes
``RUN/lock`` leaves it, and it ends with the process, however that ends. A forked child lets go of
it, so that an orphan does not keep it.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaeflow.errors import RunLockedError, StorageError
from vaeflow.storage import guarded, writing

_LOOKS = 5
_held: set[int] = set()  # the descriptors of the locks of this process


def _close_in_child() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    os.register_at_fork(after_in_child=_close_in_child)

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run for writing. The lock ends with the process, however that ends.

    Within the block, nothing is written below `run` once the directory or its lock is another than
    the one that is held: a run that was made anew there gets no row of this process.

    Raises:
        RunLockedError: if another process holds it.
        StorageError: if it cannot be locked.
    """
    path = run / "lock"
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    _held.add(descriptor)
    try:
        _lock(descriptor, path)
        with writing(path):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"pid {os.getpid()} on {platform.node()}\n".encode())
        with guarded(run, lambda: _check_same(descriptor, path)):
            yield
    finally:
        if descriptor in _held:  # a forked child has closed it
            _held.discard(descriptor)
            os.close(descriptor)


def held(run: Path) -> bool:
    """Tell whether a process holds the run, this one included; True where nobody can tell."""
    try:
        descriptor = os.open(run / "lock", os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return False
    except OSError:  # such as a run that may not be written
        return True
    try:
        _take(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take_soon(descriptor: int) -> None:
    """Take the lock, or wait a moment for a process that only looks whether it is held."""
    for _ in range(_LOOKS):
        with suppress(BlockingIOError, PermissionError):
            return _take(descriptor)
        time.sleep(0.01)
    return _take(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        _take_soon(descriptor)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise RunLockedError(
                f"{path.parent} is being written by another process ({_holder(descriptor)}): wait "
                "for it or stop it"
            ) from None
        raise StorageError(  # such as a network file system without locks
            f"{path} cannot be locked ({error.strerror}): keep the run on a local file system"
        ) from None
    if not _same(descriptor, path):
        raise RunLockedError(f"{path} was replaced just now by another process: try again")


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 100).decode(errors="replace")
    return "".join(c for c in text if c.isprintable())


def _check_same(descriptor: int, path: Path) -> None:
    if not _same(descriptor, path):
        raise StorageError(
            f"{path.parent} was removed, or its lock was, while this process was writing it: what "
            "is there now is left as it is; train again in another directory"
        )


def _same(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to the open file, whose number is not given anew."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
