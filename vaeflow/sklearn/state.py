"""A fitted estimator as a run directory, and in bytes: safetensors, JSON and TOML, no objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sklearn.utils.validation import check_is_fitted

from vaeflow.errors import CheckpointError, ConfigError
from vaeflow.model import VAE
from vaeflow.runs.load import load
from vaeflow.runs.save import save
from vaeflow.storage import write_file
from vaeflow.training.fit import Fitted

Files = Mapping[str, bytes]  # path within the run directory -> content


def pack(fitted: Fitted) -> dict[str, bytes]:
    """Return the files that `vaeflow.save` writes."""
    with TemporaryDirectory(prefix="vaeflow-") as folder:
        root = save(fitted, Path(folder, "run")).path
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write(files: Files, root: Path) -> None:
    """Write the files below a directory that does not exist.

    Raises:
        ConfigError: if it exists.
        CheckpointError: if a file is to lie elsewhere.
        StorageError: if the file system refuses.
    """
    if root.exists():
        raise ConfigError(f"save: {root} exists, and nothing is overwritten: choose another")
    for name, content in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(f"the pickled run holds a file {name!r}, which is outside of it")
        write_file(root / name, content)


def unpack(files: Files, device: str) -> VAE:
    """Return the model of such files, whose checksums are checked."""
    with TemporaryDirectory(prefix="vaeflow-") as folder:
        write(files, Path(folder, "run"))
        return load(Path(folder, "run"), device=device)


class KeptAsRun:
    """Pickles a fitted model as the files of a run directory, and writes them as one."""

    device: str
    model_: VAE
    _fitted: Fitted | None
    _run: Files | None

    def save(self, path: str | Path) -> None:
        """Write the model as a run directory, which `vaeflow.load` and the commands read.

        Arguments:
            path: the directory, which must not exist.
        """
        check_is_fitted(self)
        write(self._files(), Path(path))

    def __getstate__(self) -> dict[str, Any]:
        kept: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        if kept.pop("model_", None) is not None:
            kept |= {"_run": self._files(), "_fitted": None}
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        super().__setstate__(kept)  # type: ignore[misc]
        if kept.get("_run") is not None:
            self.model_ = unpack(kept["_run"], "cpu" if self.device == "cpu" else "auto")

    def _files(self) -> Files:
        if self._run is None:
            assert self._fitted is not None
            self._run = pack(self._fitted)
        return self._run
