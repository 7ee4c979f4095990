"""The one way in which a file is replaced: in one motion, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaeflow.errors import StorageError


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
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # half a file would keep a full disk full
                temporary.unlink()
            raise
