"""The checkpoints of a run: written durably, each whole or not there.

A checkpoint is a directory ``step-00000123`` of safetensors files, one ``state.json`` and a
``manifest.json`` with the SHA-256 of each. It is written under a temporary name, flushed to the
disk file by file, the manifest last, and then renamed: a directory with the final name is whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from vaeflow.errors import CheckpointError
from vaeflow.storage import writing
from vaeflow.training.checkpoints.reading import FORMAT, Checkpoint, read

_NAME = re.compile(r"step-(\d{8,})")
log = logging.getLogger("vaeflow")


class CheckpointStore:
    """The checkpoints of one run, the newest `keep` of them.

    Arguments:
        root: their directory, made at the first save.
        keep: how many to keep, at least 1; an older one goes only after a newer one is whole.
    """

    def __init__(self, root: Path, keep: int = 2) -> None:
        self.root = root
        self.keep = keep

    def save(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint and return its directory, durable when this returns.

        Raises:
            StorageError: if the file system refuses; older checkpoints stay.
        """
        final = self.root / f"step-{step:08d}"
        temporary = self.root / f".tmp-{final.name}"
        with writing(f"checkpoint {final}", "free some space; older checkpoints are untouched"):
            self.root.mkdir(exist_ok=True)
            self._sweep()
            temporary.mkdir()
            files = {f"{group}.safetensors": _packed(named) for group, named in tensors.items()}
            files["state.json"] = _json(state)
            for name, content in files.items():
                _write(temporary / name, content)
            manifest = {
                "format": FORMAT,
                "step": step,
                "sha256": {n: hashlib.sha256(c).hexdigest() for n, c in files.items()},
            }
            _write(temporary / "manifest.json", _json(manifest))
            _flush(temporary)
            if final.exists():  # the same step, saved again by a resumed run
                final.rename(self.root / f".dead-{final.name}")
            temporary.rename(final)
            _flush(self.root)
            for old in self._directories()[: -self.keep]:
                old.rename(self.root / f".dead-{old.name}")
            self._sweep()
        return final

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, or None if there is none at all.

        A damaged one is passed over with a warning.

        Raises:
            CheckpointError: if there are checkpoints, and all are damaged.
        """
        directories = self._directories()
        failures = []
        for path in reversed(directories):
            try:
                return read(path)
            except CheckpointError as error:
                log.warning("%s", error)
                failures.append(str(error))
        if failures:
            raise CheckpointError(
                f"{self.root} holds no whole checkpoint ({failures[0]}): restore its files, or "
                "remove the directory to train from the beginning"
            )
        return None

    def _directories(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        found = [p for p in self.root.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))

    def _sweep(self) -> None:
        """Remove the leftovers of an interrupted save or removal."""
        for path in self.root.iterdir():
            if re.fullmatch(rf"\.(tmp|dead)-{_NAME.pattern}", path.name):
                shutil.rmtree(path)


def _packed(named: Mapping[str, Tensor]) -> bytes:
    return save({k: v.detach().cpu().contiguous() for k, v in named.items()})


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())


def _flush(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
