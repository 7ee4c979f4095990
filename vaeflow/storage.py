"""The one way in which files are written: whole and on the disk when a call returns, or not at all.

A file is written under a temporary name, flushed, renamed over the old one, and its folder is
flushed, so that neither a kill nor a power loss leaves half of it. Temporary names are new, and no
link is followed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaeflow.errors import StorageError

# Windows has neither links to guard against nor folders that can be flushed.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = os.O_WRONLY | os.O_CREAT | _NOFOLLOW | getattr(os, "O_BINARY", 0)
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_guards: dict[str, Callable[[], None]] = {}


def no_link(path: str, flags: int) -> int:
    """Open a file for `open(path, …, opener=no_link)`, which then follows no link at its end."""
    return os.open(path, flags | _NOFOLLOW, 0o666)


@contextmanager
def writing(
    target: Path | str,
    cure: str = "check the path, its permissions and the free space",
    *,
    needed: int | None = None,
) -> Iterator[None]:
    """Turn a refusal of the file system inside the block into an error that names `target`.

    Arguments:
        target: what is written, as the message names it.
        cure: what the reader can do about it.
        needed: how many bytes are to be written, told where there is no room for them.

    Raises:
        StorageError: if the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written ({_why(error, target, needed)}): {cure}"
        ) from None


def _why(error: OSError, target: Path | str, needed: int | None) -> str:
    """Return the number and the words of an error, its path, and what room there is."""
    why = str(error.strerror or error)
    if error.errno is not None:
        why = f"{errno.errorcode.get(error.errno, error.errno)}: {why}"
    named = isinstance(error.filename, str)  # else a descriptor, or nothing
    path = error.filename if named else str(target)
    if path != str(target):
        why += f", at {path}"
    if error.errno in _FULL and (named or isinstance(target, Path)):
        told = "" if needed is None else f"{needed} bytes are needed, "
        with suppress(OSError):
            why += f"; {told}{free_bytes(Path(path))} bytes are free"
    return why


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path lies or will lie."""
    path = path.absolute()
    return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free


def write_file(path: Path, content: bytes | str, *, make_folder: bool = True) -> None:
    """Replace a file in one motion, text as UTF-8; its folder is made unless told otherwise.

    Raises:
        StorageError: if the file system refuses; the old file stays.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path, needed=len(data)):
        if make_folder:
            ensure_folder(path.parent)
        _check(path)
        temporary = temporary_name(path)
        try:
            write_new(temporary, data)
            os.replace(temporary, path)
        except BaseException as error:
            with suppress(OSError):  # half a file would keep a full disk full
                os.unlink(temporary)
            if isinstance(error, OSError):
                error.filename = str(path)  # not the temporary one
            raise
        flush_folder(path.parent)


def append_to_file(path: Path, text: str, cure: str) -> None:
    """Write text at the end of a file, which is made if it is not there.

    Raises:
        StorageError: if the file system refuses, with `cure`.
    """
    data = text.encode()
    with writing(path, cure, needed=len(data)):
        _check(path)
        _write(path, os.O_APPEND, data)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there, and flush it; its name is on the disk once its folder is.

    Raises:
        OSError: if the file system refuses, or the file is there.
    """
    _write(path, os.O_EXCL, data)


def _write(path: Path, how: int, data: bytes) -> None:
    descriptor = os.open(path, _FLAGS | how, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)  # a refused write knows a number alone
        raise
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """Return a new name beside a path."""
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")


def is_temporary(path: Path) -> bool:
    """Return whether a name is one of `temporary_name`."""
    return re.fullmatch(r"\.tmp-.+-[0-9a-f]{8}", path.name) is not None


def sweep(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; the caller alone writes there."""
    for path in folder.glob(".tmp-*"):
        if is_temporary(path) and not path.is_dir():
            with suppress(OSError):
                path.unlink()


def ensure_folder(path: Path) -> None:
    """Make a folder and those above it, so that they are on the disk.

    Raises:
        OSError: if the file system refuses.
    """
    if path.is_dir():
        return
    _check(path)
    ensure_folder(path.parent)
    with suppress(FileExistsError):  # another process was faster
        os.mkdir(path)
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Bring the names in a folder to the disk.

    Raises:
        OSError: if the file system refuses.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot flush a folder
            error.filename = str(path)
            raise
    finally:
        os.close(descriptor)


@contextmanager
def guarded(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each write to a folder or below it, within the block."""
    key = os.path.abspath(folder)
    _guards[key] = check
    try:
        yield
    finally:
        del _guards[key]


def _check(path: Path) -> None:
    path = Path(os.path.abspath(path))
    for folder in (path, *path.parents):
        if check := _guards.get(str(folder)):
            check()
