"""The one way in which a file of a run is read: bounded in time and memory, executing nothing.

A file of a run directory may be torn, changed, of another run, or no file at all: a pipe, a device.
Each reader here raises `OSError` or `ValueError`, and its caller says which file it was.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TEXT = 2**24  # bytes of a file of text, far above what vaeflow writes
_DEPTH = 32  # keys of one dotted key in TOML
# A key starts where no other character of it comes before: the search takes linear time.
_DOTTED = re.compile(r"(?<![\w\"'.-])(?:[\w\"'-]+[ \t]*\.[ \t]*){%d}" % _DEPTH)  # noqa: UP031
SUM = "sha256"


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file, or of one that a link names.

    A pipe, a device or a socket is refused before it is read: it may never end.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no regular file, or longer than `limit` bytes.
    """
    # O_NONBLOCK opens a pipe that nobody writes to; it changes nothing for a file.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    try:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        if limit is not None and about.st_size > limit:
            raise ValueError(f"it has {about.st_size:,} bytes, more than {limit:,}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(about.st_size + 1)
    finally:
        os.close(descriptor)


_BINARY = getattr(os, "O_BINARY", 0)  # Windows


def read_text(path: Path) -> str:
    """Return the content of a file of text, UTF-8.

    Raises:
        OSError, ValueError: if it cannot be read, or is not UTF-8.
    """
    return read_file(path, TEXT).decode()


def plain_json(content: bytes | str) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: if it is none, or nested too deep.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def plain_toml(content: str) -> dict[str, Any]:
    """Return the tables of TOML.

    Raises:
        ValueError: if it is none, or nested too deep.
    """
    import tomllib

    if found := _DOTTED.search(content):
        start = found.group()[:20]
        raise ValueError(f"the key {start}… has more than {_DEPTH} parts")
    try:
        return tomllib.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of JSON with their checksum, the last of them."""
    return {**content, SUM: _checksum(content)}


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `sealed`, or of a file of before there was a checksum.

    Raises:
        ValueError: if a value was changed.
    """
    # Without a checksum it is an older file, or one in which a bit of that name was flipped.
    names = [SUM] if SUM in content else [name for name, x in content.items() if _is_digest(x)]
    for name in names:
        values = {other: value for other, value in content.items() if other != name}
        if (content[name] == _checksum(values)) != (name == SUM):
            raise ValueError("its values have another SHA-256 than it states: it was changed")
    return {name: value for name, value in content.items() if name != SUM}


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, in the order of their names, and its texts.

    Raises:
        ValueError: if it is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)  # checks the length of the header, which is read next
        size = int.from_bytes(content[:8], "little")
        texts = plain_json(content[8 : 8 + size]).get("__metadata__") or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    return {name: tensors[name] for name in sorted(tensors)}, texts  # given in any order


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: of their names, types, shapes and bits."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        bits = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        found.update(bits.numpy().data)
    return found.hexdigest()
