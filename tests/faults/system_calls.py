"""The calls with which vaeflow changes the disk: counted, logged, refused or cut off by a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

NAMES = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")


@dataclass(frozen=True)
class Call:
    """One call that changes the disk, or makes a change last."""

    name: str  # of NAMES, or "told" for what the caller of vaeflow was told meanwhile
    path: Path
    target: Path | None = None  # of a renaming
    data: bytes = b""


def _path(given: Any, dir_fd: int | None) -> Path:
    if isinstance(given, int):
        return Path(os.readlink(f"/proc/self/fd/{given}"))
    folder = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    return Path(folder, given)


def _described(name: str, args: tuple[Any, ...], dir_fd: int | None) -> Call:
    path = _path(args[0], dir_fd)
    if name in ("rename", "replace"):
        return Call(name, path, target=_path(args[1], dir_fd))
    return Call(name, path, data=bytes(args[1]) if name == "write" else b"")


@contextmanager
def watched(root: Path, act: Callable[[Call, int], None]) -> Iterator[list[Call]]:
    """Call `act(call, number)` before each call below `root`, in the block; return them all.

    Opening a file that is there changes nothing, and is no call.
    """
    calls: list[Call] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            call = _described(name, args, kwargs.get("dir_fd", kwargs.get("src_dir_fd")))
            changes = name != "open" or (args[1] & os.O_CREAT and not call.path.exists())
            if changes and (call.path == root or root in call.path.parents):
                calls.append(call)
                act(call, len(calls))
            return real(*args, **kwargs)

        return function

    with mock.patch.multiple(os, **{n: wrapped(n, getattr(os, n)) for n in NAMES}):
        yield calls


def kill_at(number: int, *, halfway: bool = False) -> Callable[[Call, int], None]:
    """Return an `act` that ends the process before a call, or in the middle of a write."""

    def act(call: Call, seen: int) -> None:
        if seen == number:
            if halfway and call.name == "write":
                with open(call.path, "ab") as file:
                    file.write(call.data[: len(call.data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def refuse(code: int, when: Callable[[Call, int], bool]) -> Callable[[Call, int], None]:
    """Return an `act` that refuses calls with an error number."""

    def act(call: Call, seen: int) -> None:
        if when(call, seen):
            raise OSError(code, os.strerror(code), str(call.path))

    return act
