"""The one way in which a file is replaced: in one motion, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaeflow.errors import StorageError


def no_link(path: str, flags: int) -> int:
    """Open a file for `open(path, …, opener=no_link)`, which then follows no link at its end."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def writing(
    target: Path | str, cure: str = "check the path, its permissions and the free space"
) -> Iterator[None]:
    """Turn a refusal of the file system inside the block into an error that names `target`.

    Raises:
        StorageError: if the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StorageError(f"{target} cannot be written ({why}): {cure}") from None


def write_file(path: Path, content: bytes | str, *, make_folder: bool = True) -> None:
    """Write a file in one motion, text as UTF-8; its folder is made unless told otherwise.

    Raises:
        StorageError: if the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            if make_folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)  # left by a crash
            with open(temporary, "xb") as file:  # which follows no link
                file.write(content.encode() if isinstance(content, str) else content)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # half a file would keep a full disk full
                temporary.unlink()
            raise
