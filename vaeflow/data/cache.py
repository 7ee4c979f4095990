"""Arrays that are made once from files which take long to read, and are kept in a folder.

An array is a .npy file, which appears whole or not at all. Its name is of what it was made from.
Its time of change is of its name, too: a file that was written to since is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.errors import StorageError
from vaeflow.storage import (
    ensure_folder,
    flush_folder,
    free_bytes,
    is_temporary,
    temporary_name,
    writing,
)

log = logging.getLogger("vaeflow")

_VERSION = 1  # of what a cache holds for the same files
_TELL = 10.0  # seconds between two lines of progress
_ABANDONED = 3600.0  # seconds without a write, after which a maker was killed


@dataclass(frozen=True)
class Cache:
    """The place of one array in the cache.

    Arguments:
        folder: of the cache.
        what: what messages call the source, such as "the images of photos".
        about: the source and how it is read, plain values: another source has another array.
        files: those that the array is made from.
    """

    folder: Path
    what: str
    about: Any
    files: tuple[Path, ...]

    def find(self) -> np.ndarray[Any, Any] | None:
        """Return the array, mapped from its file, or None if it is not there, whole and as made."""
        path, seal = self._path_and_seal()
        try:
            if os.stat(path).st_mtime_ns == seal:
                return _mapped(path)
        except (OSError, ValueError, EOFError):  # not there, or damaged
            pass
        return None

    def make(
        self, parts: Iterable[np.ndarray[Any, Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> np.ndarray[Any, Any]:
        """Write the array, part by part, in the place of an older one, and return it mapped.

        Processes that make it at once each write a file of their own, and the last one stays.

        Raises:
            StorageError: if the file system refuses, or there is no room.
        """
        path, seal = self._path_and_seal()
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        cure = "free some, or name another folder by --dataset.cache"
        with writing(path, cure, needed=needed):
            ensure_folder(self.folder)
            self._sweep(path)
            if (free := free_bytes(self.folder)) < needed:
                room = f"{self.folder} has {free:,} free"
                raise StorageError(f"{self.what} take {needed:,} bytes, but {room}: {cure}")
            log.info(
                "%s are kept in %s, %s bytes, and read from there from now on",
                self.what, path, f"{needed:,}",
            )  # fmt: skip
            temporary = temporary_name(path)
            try:
                with open(temporary, "xb") as file:
                    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    for part in self._told(parts, shape[0]):
                        file.write(np.ascontiguousarray(part, dtype).data)
                    file.flush()
                    os.fsync(file.fileno())
                os.utime(temporary, ns=(seal, seal))
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):  # half a file would keep a full disk full
                    os.unlink(temporary)
                raise
            flush_folder(self.folder)
        return _mapped(path)

    def _told(
        self, parts: Iterable[np.ndarray[Any, Any]], count: int
    ) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the parts, and tell how far they are."""
        done, last = 0, time.monotonic()
        for part in parts:
            yield part
            done += len(part)
            if (now := time.monotonic()) - last > _TELL:
                last = now
                log.info("%s: %s of %s are read", self.what, f"{done:,}", f"{count:,}")

    def _path_and_seal(self) -> tuple[Path, int]:
        """Return the file of the array, and its time of change in nanoseconds."""
        source = _digest([_VERSION, self.about])
        stats = [(str(path), *_stat(path)) for path in self.files]
        key = _digest(stats)
        seal = 1_000_000_000 + int(key[:7], 16)  # a whole second, which any file system keeps
        return self.folder / f"{source[:16]}-{key[:16]}.npy", seal * 10**9

    def _sweep(self, path: Path) -> None:
        """Remove what the same source was before, and what killed makers left."""
        source = path.name.partition("-")[0]
        for old in self.folder.glob(f"{source}-*.npy"):
            with suppress(OSError):
                old.unlink()
        for part in filter(is_temporary, self.folder.glob(".tmp-*")):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED:
                    part.unlink()


def default_folder() -> Path:
    """Return the folder of caches in the user's cache, which $XDG_CACHE_HOME moves."""
    import pooch

    return Path(pooch.os_cache("vaeflow")) / "arrays"


def _mapped(path: Path) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()


def _stat(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
