"""One checkpoint read and verified: nothing of it is executed, and nothing half is returned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaeflow.errors import CheckpointError
from vaeflow.model import VAE
from vaeflow.reading import TEXT, plain_json, read_file, unpack
from vaeflow.training.progress import Progress

FORMAT = 1
STATE = "state.json"
_TENSORS = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint: groups of named tensors, and plain numbers."""

    path: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]

    @property
    def progress(self) -> Progress:
        """Return where the training stood.

        Raises:
            CheckpointError: if the numbers cannot be those of a training.
        """
        try:
            found = Progress.of(self.state.get("progress"))
            if found.step != self.step:
                raise ValueError(f"it counts {found.step} steps, and its name {self.step}")
        except ValueError as error:
            raise self.odd(f"its progress is odd: {error}") from None
        return found

    def group(self, name: str) -> dict[str, Tensor]:
        """Return a group of tensors: "model", "optimizer", "loop", or "best" where there is one.

        Raises:
            CheckpointError: if it is missing.
        """
        if name not in self.tensors:
            raise self.odd(f"it lacks {name}{_TENSORS}")
        return self.tensors[name]

    def weights(self, which: str) -> dict[str, Tensor]:
        """Return the "best" or the "last" weights, which are one where no epoch was the best.

        Raises:
            CheckpointError: if they are missing.
        """
        # `vaeflow.save` keeps no state of the optimizer, and the best weights alone.
        kept_alone = "best" not in self.tensors and "optimizer" not in self.tensors
        best = which == "best" and self.progress.best_epoch > 0 and not kept_alone
        return self.group("best" if best else "model")

    def odd(self, why: str) -> CheckpointError:
        """Return the error of a checkpoint whose content cannot be used."""
        return CheckpointError(
            f"checkpoint {self.path} cannot be used ({why}): remove it, and the one before is taken"
        )


def read(path: Path, run: str | None = None, *, of_any: bool = True) -> Checkpoint:
    """Read and verify one checkpoint directory.

    Arguments:
        path: the directory.
        run: the id of the run that wrote it, None for one of before there were ids.
        of_any: take that of any run.

    Raises:
        CheckpointError: if a file is missing, changed or of a newer format, or of another run.
    """
    try:
        manifest = plain_json(read_file(path / "manifest.json", TEXT))
        _check(manifest, path)
        files = {name: _verified(path, name, manifest) for name in manifest["sha256"]}
        state = plain_json(files.pop(STATE))
        if not isinstance(state, dict):
            raise ValueError(f"{STATE} holds no JSON object")
        if not of_any and state.get("run_id") != run:
            raise CheckpointError(
                f"checkpoint {path} is of run {state.get('run_id') or 'without an id'!r:.40}, and "
                f"environment.json of run {run or 'without an id'}: move it out of the directory"
            )
        tensors = {
            name.removesuffix(_TENSORS): unpack(files.pop(name))[0]
            for name in [*files]
            if name.endswith(_TENSORS)
        }
        return Checkpoint(path, manifest["step"], tensors, state)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} lacks {Path(error.filename).name}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {error})"
        ) from None


def _check(manifest: Any, path: Path) -> None:
    """Check what a manifest says before any file that it names is opened."""
    version, step, sums = manifest["format"], manifest["step"], manifest["sha256"]
    if type(version) is int and version > FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {version}, but this vaeflow reads up to {FORMAT}: "
            "update vaeflow"
        )
    if type(version) is not int or version < 1:
        raise ValueError(f"its manifest states format {version!r:.20}")
    if type(step) is not int or f"step-{step:08d}" not in path.name:
        raise ValueError(f"its manifest states step {step!r:.20}")
    for name in sums:
        if Path(name).name != name:
            raise CheckpointError(f"checkpoint {path} names a file outside itself: {name!r:.80}")
    if STATE not in sums:
        raise ValueError(f"its manifest does not name {STATE}")


def _verified(path: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """Return the content of a file, once it is the one that the manifest knows."""
    size = manifest.get("bytes", {}).get(name)  # older ones do not state it
    content = read_file(path / name, TEXT if name == STATE else size)
    if size is not None and len(content) != size:
        raise CheckpointError(
            f"checkpoint {path}: {name} has {len(content):,} bytes, and its manifest says {size:,}"
        )
    seen, expected = hashlib.sha256(content).hexdigest(), manifest["sha256"][name]
    if seen != expected:
        raise CheckpointError(
            f"checkpoint {path}: {name} has SHA-256 {seen[:12]}…, its manifest says "
            f"{str(expected)[:12]}…: the file was changed"
        )
    return content


def check_fit(model: VAE, tensors: Mapping[str, Tensor]) -> None:
    """Check that weights belong to a model, and that those that are trained are finite.

    Raises:
        CheckpointError: naming the first missing, extra or misshapen tensors.
    """
    own = {k: _told(v) for k, v in model.state_dict().items()}
    given = {k: _told(v) for k, v in tensors.items()}
    wrong = [k for k in {**own, **given} if own.get(k) != given.get(k)]
    if wrong:
        told = "; ".join(
            f"{k:.80}: {given.get(k, 'missing')} in the file, {own.get(k, 'absent')} in the model"
            for k in wrong[:5]
        )
        raise CheckpointError(f"the checkpoint is of another model ({told}): load it with its own")
    for name, _ in model.named_parameters():  # a buffer, such as a mask, may hold −∞
        if name in tensors and not torch.isfinite(tensors[name]).all():
            raise CheckpointError(
                f"the checkpoint has a weight in {name} that is not finite: remove it, and the one "
                "before is taken"
            )


def _told(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
