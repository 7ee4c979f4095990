"""Files of published data sets: found on disk or downloaded once, and verified by checksum."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import decompressed

T = TypeVar("T")
log = logging.getLogger("vaeflow")

_ALGORITHMS = {32: ("MD5", "md5"), 64: ("SHA-256", "sha256")}  # by the number of their digits


@dataclass(frozen=True)
class Origin:
    """Where the files of a data set come from.

    `checksums` has an entry for each file, None where no checksum is published. Then the first
    checksum that is seen is recorded in the user's cache, and later copies must have the same.
    """

    title: str  # the data set's name in messages
    folder: str  # in the user's cache, and below a data root
    sources: tuple[str, ...]  # beginnings of a file's addresses, best first
    checksums: Mapping[str, str | None]  # MD5 or SHA-256 in hexadecimal digits
    suffix: str = ""  # ".gz" where the files are published gzipped
    unpacked: bool = False  # checksums are of the unpacked bytes: any packing passes
    folders: tuple[str, ...] = ()  # further folders below a data root, as other libraries name them

    def load(self, name: str, root: Path | None, read: Callable[[Path], T]) -> T:
        """Find a file below `root`, else below $VAEFLOW_DATA, else download it; then `read` it.

        Raises:
            DataError: if the file is missing, has another checksum or cannot be read.
        """
        if root is None and (given := os.environ.get("VAEFLOW_DATA")):
            root = Path(given)
        if root is None:
            return self._download(name, read)
        return self._accept(self._find(root, name), name, read)

    def folder_at_hand(self) -> Path | None:
        """Return the folder of the files below $VAEFLOW_DATA, or in the cache; None without them.

        Nothing is downloaded, and no checksum is taken.
        """
        if given := os.environ.get("VAEFLOW_DATA"):
            with suppress(DataError):
                first, *_ = [self._find(Path(given), name) for name in self.checksums]
                return first.parent
            return None
        cache = _cache() / self.folder
        files = [cache / f"{name}{self.suffix}" for name in self.checksums]
        return cache if all(file.is_file() for file in files) else None

    def _find(self, root: Path, name: str) -> Path:
        # Kaggle writes train-images.idx3-ubyte, and puts a file in a folder of its own name.
        dotted = name.replace("-idx", ".idx")
        names = [name, dotted, f"{name}/{name}", f"{dotted}/{dotted}"] if self.unpacked else [name]
        suffixes = (self.suffix, "") if self.unpacked else (self.suffix,)
        # Data sets have files of one name: the data set's own folder goes before the root.
        for folder in (self.folder, *self.folders, "."):
            for known in dict.fromkeys(names):
                for suffix in suffixes:
                    if (path := root / folder / f"{known}{suffix}").is_file():
                        return path
        tables = sorted(path.name for path in root.glob("*train*.csv"))
        cure = f"give the directory of the {self.title} files with --data-root"
        if tables:
            cure += (
                f", or train on the table itself, with --dataset table --dataset.path "
                f"{root / tables[0]} --dataset.drop label --likelihood columns"
            )
        raise DataError(
            f"{root} holds no {name}{self.suffix}: {cure}, or leave it and $VAEFLOW_DATA out to "
            "download them"
        )

    def _download(self, name: str, read: Callable[[Path], T]) -> T:
        import pooch

        pooch.get_logger().setLevel(logging.WARNING)
        file, cache = f"{name}{self.suffix}", _cache() / self.folder
        # pooch returns a copy in the cache at the first call, without a request.
        cached = (cache / file).is_file()
        failures = []
        for source in (*self.sources[:cached], *self.sources):
            try:
                path = Path(pooch.retrieve(f"{source}{file}", None, fname=file, path=cache))
            except Exception as error:  # requests, sockets and pooch each have their own
                failures.append(f"{source}: {type(error).__name__}")
                continue
            try:
                return self._accept(path, name, read)
            except DataError as error:
                path.unlink()
                failures.append(str(error))
        raise DataError(
            f"{file} could not be downloaded ({'; '.join(failures)}): fetch it yourself and name "
            "its directory with --data-root"
        )

    def _accept(self, path: Path, name: str, read: Callable[[Path], T]) -> T:
        published = self.checksums[name]
        if published is not None:
            self._verify(path, name, published)
            return read(path)
        record = _cache() / self.folder / f"{name}.sha256"
        seen = _digest("sha256", path)
        known = _recorded(record)
        if known and seen != known:
            raise DataError(
                f"{path} has SHA-256 {seen[:12]}…, but {known[:12]}… was recorded when {name} was "
                f"first loaded: fetch the file again, or delete {record} to take it as it is now"
            )
        result = read(path)
        if not known:  # an error page in place of the file cannot be read, and is not recorded
            _record(record, seen, path)
        return result

    def _verify(self, path: Path, name: str, published: str) -> None:
        algorithm, key = _ALGORITHMS[len(published)]
        seen = _digest(key, path, unpacked=self.unpacked)
        if seen != published:
            raise DataError(
                f"{path} {'unpacks to' if self.unpacked else 'has'} {algorithm} {seen[:12]}…, but "
                f"{self.title}'s {name} has {published[:12]}…: fetch the file again, name its own "
                "directory with --data-root, or load other data with --dataset file"
            )


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("vaeflow"))


def _digest(algorithm: str, path: Path, *, unpacked: bool = False) -> str:
    new = partial(hashlib.new, algorithm, usedforsecurity=False)
    if unpacked:
        return new(decompressed(path)).hexdigest()
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, new).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): fetch the file again") from None


def _recorded(record: Path) -> str | None:
    try:
        return record.read_text("utf-8", "replace").split(" ")[0].strip()
    except OSError:
        return None


def _record(record: Path, seen: str, path: Path) -> None:
    """Write the checksum as sha256sum does, and say so."""
    told = f"no published checksum of {path.name} is known: SHA-256 {seen}"
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{seen}  {path.name}\n", "utf-8")
    except OSError as error:
        log.warning(f"{told} could not be recorded ({error})")
    else:
        log.warning(f"{told} is recorded in {record}, and later loads must find the same")
