"""The files of a diagnosis: all numbers as JSON, and a picture of posteriors in two dimensions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from vaeflow.data.examples import Data, as_examples
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.plane import Window, windows
from vaeflow.diagnosis.portraits import draw_portraits
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.storage import write_file

FIGURES, PICTURE = "diagnosis.json", "posteriors.png"
_PORTRAITS = 4  # images whose posteriors are drawn


def check_new(out: Path) -> None:
    """Refuse to overwrite a file, before the work.

    Raises:
        ConfigError: if a file is there, or if the directory cannot be made.
    """
    for path in (out / FIGURES, out / PICTURE):
        if path.exists():
            raise ConfigError(
                f"--out {out}: {path} exists, and nothing is overwritten; choose another directory"
            )
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: the directory {out.parent} does not exist; make it first")


def write(
    diagnosis: Diagnosis,
    model: VAE,
    x: Data,
    out: Path,
    *,
    names: Sequence[str] = (),
    seed: int = 0,
) -> Iterator[Path]:
    """Write the numbers and, of latent size 2, the picture; yield their paths.

    Arguments:
        diagnosis: of the model on the images x.
        model, x: the first images' posteriors are drawn.
        out: the directory; it is made.
        names: of the images, such as their labels.
        seed: of the draws in the picture.

    Raises:
        StorageError: if a file cannot be written.
    """
    some = x[:_PORTRAITS].to(model.device)
    # First, as it takes time: a diagnosis that is interrupted here has no file in its way.
    seen = _windows(diagnosis, model, some, seed) if model.posterior.latent == 2 else None
    write_file(out / FIGURES, json.dumps(diagnosis.as_dict(), indent=2) + "\n")
    yield out / FIGURES
    if seen is not None:
        draw_portraits(seen, as_examples(some).values, out / PICTURE, names)
        yield out / PICTURE


def _windows(diagnosis: Diagnosis, model: VAE, x: Data, seed: int) -> list[Window]:
    """Return what the picture of the posteriors shows."""
    with torch.no_grad():
        qs = {"q of the encoder": model.infer(x)}
        for name, bounds in diagnosis.local.items():
            qs[f"best {name} q"] = bounds.q(len(x))
    return windows(model, x, qs, seed=seed)
