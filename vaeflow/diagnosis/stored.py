"""The figures of each stage of a diagnosis, as files that the next diagnosis reads.

A file is safetensors: the tensors of one stage and, in the header, as JSON, its other values, the
key on which all of them depend, and the SHA-256 of the whole. The file's name holds a digest of the
key: other figures never overwrite it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from vaeflow.diagnosis.kept import Figures, Key
from vaeflow.errors import CheckpointError, StorageError
from vaeflow.reading import digest, plain_json, read_file, unpack
from vaeflow.storage import write_file

FORMAT = 1  # a part of each key: files of another format are not read
_HEADER = "vaeflow"
log = logging.getLogger("vaeflow")


class StageFiles:
    """A keeper of stages in a folder.

    If the file system refuses, the diagnosis goes on after one warning.

    Arguments:
        folder: made at the first file.
        about: what the figures depend on beyond what a diagnosis knows: the model's parts.
        again: give back no figures from before, and replace them.

    Attributes:
        found: the stages whose figures were kept from before.
        kept: all stages whose figures are in the folder now.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, again: bool = False) -> None:
        self.folder, self.about, self.again = folder, about, again
        self.found: list[str] = []
        self.kept: list[str] = []
        self._warned = False

    def get(self, stage: str, key: Key) -> Figures | None:
        """Return the figures of a stage, if a whole file holds them; warn of a damaged one."""
        path, about = self._place(stage, key)
        if self.again or not path.exists():
            return None
        try:
            figures = read(path, about)
        except CheckpointError as error:
            log.warning("%s; the stage is measured anew", error)
            return None
        self.found.append(stage)
        self.kept.append(stage)
        return figures

    def put(self, stage: str, key: Key, figures: Figures) -> None:
        """Write the figures of a stage in one motion."""
        path, about = self._place(stage, key)
        try:
            write(path, about, figures)
        except StorageError as error:
            if not self._warned:
                log.warning("%s; the diagnosis goes on, and its figures are not kept", error)
            self._warned = True
        else:
            self.kept.append(stage)

    def _place(self, stage: str, key: Key) -> tuple[Path, str]:
        """Return the file of a stage, and its key as text."""
        whole = {"format": FORMAT, "stage": stage, **self.about, **key}
        about = json.dumps(whole, sort_keys=True)
        name = re.sub(r"[^a-z0-9]+", "-", stage.lower())
        unlike = hashlib.sha256(about.encode()).hexdigest()[:12]
        return self.folder / f"{name}-{unlike}.safetensors", about


def write(path: Path, about: str, figures: Figures) -> None:
    """Write the figures of one stage in one motion, making the folder.

    Raises:
        StorageError: if the file system refuses.
    """
    tensors = {n: t.detach().cpu().contiguous() for n, t in figures.tensors.items()}
    plain = json.dumps(dict(figures.plain))
    header = {"about": about, "plain": plain, "sha256": _checksum(about, plain, tensors)}
    write_file(path, save(tensors, {_HEADER: json.dumps(header)}))


def read(path: Path, about: str | None = None) -> Figures:
    """Read the figures that were written with a key, or with any.

    Raises:
        CheckpointError: if the file is damaged, or of another key.
    """
    try:
        tensors, texts = unpack(read_file(path))
        header = plain_json(texts[_HEADER])
        seen = _checksum(header["about"], header["plain"], tensors)
        if seen != header["sha256"] or about not in (None, header["about"]):
            raise CheckpointError(f"{path} was changed: its SHA-256 is not the one that it states")
        return Figures(tensors, plain_json(header["plain"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}: {error})") from None


def _checksum(about: str, plain: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256("\n".join((about, plain, digest(tensors))).encode()).hexdigest()
