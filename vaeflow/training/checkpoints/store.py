"""The checkpoints of a run: written durably, each whole or not there.

A checkpoint is a directory ``step-00000123`` of safetensors files, one ``state.json`` and a
``manifest.json`` with the SHA-256 of each. It is written as ``.tmp-step-00000123-…``, flushed to
the disk file by file, the manifest last, and then renamed. What it replaces, and what is removed,
is first renamed to ``.dead-step-…``. At any moment the newest checkpoint is whole under one of the
three names, and is found under each.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from vaeflow.errors import CheckpointError
from vaeflow.storage import ensure_folder, flush_folder, sweep, temporary_name, write_new, writing
from vaeflow.training.checkpoints.reading import FORMAT, Checkpoint, read

_NAME = re.compile(r"step-(\d{8,})|\.(tmp|dead)-step-(\d{8,})(-[0-9a-f]{8})?")
_CURE = "free some space; older checkpoints are untouched"
_TRIES = 50  # of reading, while another process saves
log = logging.getLogger("vaeflow")

_Look = tuple[tuple[str, int, int, int], ...] | None  # name, size, time and inode of each file


class CheckpointStore:
    """The checkpoints of one run, the newest `keep` whole ones of them.

    Arguments:
        root: their directory, made at the first save.
        keep: how many to keep, at least 1; an older one goes only after a newer one is whole.
        about: is written into each, the id of the run first: "run_id". Those of other runs are not
            read. By default there is no run, and any are.
    """

    def __init__(
        self, root: Path, keep: int = 2, about: Mapping[str, str | None] | None = None
    ) -> None:
        self.root = root
        self.keep = keep
        self._verified: dict[Path, _Look] = {}  # what this process wrote or read, as it looked
        self.about = about

    def save(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint and return its directory, durable when this returns.

        Raises:
            StorageError: if the file system refuses; older checkpoints stay.
        """
        final = self.root / f"step-{step:08d}"
        files = {f"{group}.safetensors": _packed(named) for group, named in tensors.items()}
        files["state.json"] = _json({**state, **(self.about or {})})
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        sizes = {name: len(content) for name, content in files.items()}
        manifest = {"format": FORMAT, "step": step, "bytes": sizes, "sha256": sums}
        files["manifest.json"] = _json(manifest)
        with writing(f"checkpoint {final}", _CURE, needed=sum(map(len, files.values()))):
            ensure_folder(self.root)
            self._recover()
            temporary = self._write(temporary_name(final), files)
            if final.exists():  # the same step, saved again by a resumed run
                final.rename(_dead(final))
            temporary.rename(final)
            flush_folder(self.root)
        self._verified[final] = _look(final)
        self._prune()
        return final

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, or None if there is none at all.

        A damaged one is passed over with a warning. Where another process saves and removes
        meanwhile, what is there now is read.

        Raises:
            CheckpointError: if there are checkpoints, and all are damaged.
        """
        for _ in range(_TRIES):
            paths, damage = self.paths(), []
            for path in paths:
                look = _look(path)
                try:
                    found = self.read(path)
                except CheckpointError as error:
                    if look is None or look != _look(path):  # removed or replaced meanwhile
                        break
                    if not path.name.startswith("."):  # else the rest of a save that was killed
                        damage.append(str(error))
                else:
                    self._verified[path] = look
                    _warn(damage)
                    return found
            else:
                if paths == self.paths():
                    _warn(damage)
                    if not damage:
                        return None
                    raise CheckpointError(
                        f"{self.root} holds no whole checkpoint ({damage[0]}): restore its files, "
                        "or remove the directory to train from the beginning"
                    )
        raise CheckpointError(f"{self.root} changes faster than it can be read: try again")

    def _write(self, folder: Path, files: Mapping[str, bytes]) -> Path:
        """Make a folder of files, all on the disk, or none."""
        os.mkdir(folder)
        try:
            for name, content in files.items():  # the manifest last
                write_new(folder / name, content)
            flush_folder(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # it would keep a full disk full
            raise
        return folder

    def paths(self) -> list[Path]:
        """Return what may be whole, the newest first; of one step, what has its final name."""
        found = []
        if self.root.is_dir():
            for path in self.root.iterdir():
                if (name := _NAME.fullmatch(path.name)) and (path / "manifest.json").is_file():
                    step, kind = int(name[1] or name[3]), {None: 2, "tmp": 1, "dead": 0}[name[2]]
                    found.append((step, kind, path))
                elif name and name[1] and path.is_dir():
                    found.append((int(name[1]), 2, path))  # a damaged one, to be told of
        return [path for *_, path in sorted(found, reverse=True)]

    def _recover(self) -> None:
        """Give what a kill left whole its final name, and remove the rest of what it left."""
        for path in self.paths():
            name = _NAME.fullmatch(path.name)
            if name is not None and name[2] is not None:
                final = self.root / f"step-{name[3]}"
                if not self._whole(final) and self._whole(path):
                    if final.exists():
                        final.rename(_dead(final))
                    path.rename(final)
        self._sweep()

    def _whole(self, path: Path) -> bool:
        """Return whether a checkpoint can be restored; one that has not changed is not read."""
        look = _look(path)
        if look is not None and self._verified.get(path) != look:
            try:
                self.read(path)
            except CheckpointError:
                return False
            self._verified[path] = look
        return look is not None

    def read(self, path: Path) -> Checkpoint:
        """Read one, if it is of this run."""
        return read(path, (self.about or {}).get("run_id"), of_any=self.about is None)

    def _prune(self) -> None:
        """Remove what is older than the `keep` newest whole checkpoints.

        A checkpoint was saved before: a file that cannot be removed is told of, and stays.
        """
        whole = 0
        for path in self.paths():
            if path.name.startswith("."):
                continue
            if whole >= self.keep:
                with _telling(path):
                    path.rename(_dead(path))
            elif self._whole(path):
                whole += 1
        self._sweep()
        self._verified = {p: look for p, look in self._verified.items() if p.exists()}

    def _sweep(self) -> None:
        """Remove the leftovers of an interrupted save or removal."""
        for path in self.root.iterdir():
            name = _NAME.fullmatch(path.name)
            if name is not None and name[2] is not None:
                with _telling(path):
                    shutil.rmtree(path)
        sweep(self.root)  # files, of a look at the room that was killed


def _dead(path: Path) -> Path:
    """Return the name under which a checkpoint is removed."""
    return path.with_name(f".dead-{path.name}-{secrets.token_hex(4)}")


def _look(path: Path) -> _Look:
    """Return what tells that the files of a checkpoint are as they were, None if it is gone."""
    try:
        with os.scandir(path) as entries:
            files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return None
    return tuple(sorted((n, s.st_size, s.st_mtime_ns, s.st_ino) for n, s in files))


def _warn(damage: list[str]) -> None:
    for told in damage:
        log.warning("%s", told)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Warn of what cannot be removed."""
    try:
        yield
    except OSError as error:
        log.warning("%s cannot be removed (%s): remove it by hand", path, error.strerror or error)


def _packed(named: Mapping[str, Tensor]) -> bytes:
    return save({k: v.detach().cpu().contiguous() for k, v in named.items()})


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
