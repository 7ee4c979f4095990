"""One checkpoint read and verified: nothing of it is executed, and nothing half is returned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vaeflow.errors import CheckpointError
from vaeflow.model import VAE

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint: groups of named tensors, and plain numbers."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def read(path: Path) -> Checkpoint:
    """Read and verify one checkpoint directory.

    Raises:
        CheckpointError: if a file is missing, changed or of a newer format.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] > FORMAT:
            raise CheckpointError(
                f"checkpoint {path} has format {manifest['format']}, but this vaeflow reads up to "
                f"{FORMAT}: update vaeflow"
            )
        for name, expected in manifest["sha256"].items():
            if Path(name).name != name:
                raise CheckpointError(f"checkpoint {path} names a file outside itself: {name!r}")
            with open(path / name, "rb") as f:
                seen = hashlib.file_digest(f, "sha256").hexdigest()
            if seen != expected:
                raise CheckpointError(
                    f"checkpoint {path}: {name} has SHA-256 {seen[:12]}…, its manifest says "
                    f"{expected[:12]}…: the file was changed"
                )
        tensors = {
            name.removesuffix(".safetensors"): load_file(path / name)
            for name in manifest["sha256"]
            if name.endswith(".safetensors")
        }
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return Checkpoint(manifest["step"], tensors, state)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} lacks {Path(error.filename).name}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {error})"
        ) from None


def check_fit(model: VAE, tensors: Mapping[str, Tensor]) -> None:
    """Check that weights belong to a model.

    Raises:
        CheckpointError: naming the first missing, extra or misshapen tensors.
    """
    own = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    given = {k: tuple(v.shape) for k, v in tensors.items()}
    wrong = [k for k in {**own, **given} if own.get(k) != given.get(k)]
    if wrong:
        told = "; ".join(
            f"{k}: {given.get(k, 'missing')} in the file, {own.get(k, 'absent')} in the model"
            for k in wrong[:5]
        )
        raise CheckpointError(f"the checkpoint is of another model ({told}): load it with its own")
