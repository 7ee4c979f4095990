"""The lock of a run directory: one process writes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaeflow.errors import RunLockedError, StorageError
from vaeflow.storage import writing

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run for writing. The lock ends with the process, however that ends.

    Raises:
        RunLockedError: if another process holds it.
    """
    if fcntl is None:
        yield
        return
    with writing(run / "lock"):
        f = open(run / "lock", "a+", encoding="utf-8")  # noqa: SIM115, closed below
    with f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX leaves the choice to the system
            f.seek(0)
            raise RunLockedError(
                f"{run} is being written by another process ({f.read().strip()}): wait "
                "for it or stop it"
            ) from None
        except OSError as error:  # such as a network file system without locks
            raise StorageError(
                f"{run / 'lock'} cannot be locked ({error.strerror}): keep the run on "
                "a local file system"
            ) from None
        f.truncate(0)
        f.write(f"pid {os.getpid()} on {platform.node()}\n")
        f.flush()
        yield
