"""The one way in which a file is replaced: in one motion, or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vaeflow.errors import StorageError


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one motion, making its directory.

    Raises:
        StorageError: if the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # half a file would keep a full disk full
            temporary.unlink()
        raise StorageError(
            f"{path} cannot be written ({error.strerror}): check the path, its permissions and the "
            "free space"
        ) from None
