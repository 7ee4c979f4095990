"""Writing pictures and arrays that a command was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.errors import ConfigError
from vaeflow.storage import writing

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def new_file(path: Path) -> Iterator[None]:
    """Check that `path` can be made, before the work; name the file, after it.

    Raises:
        ConfigError: if it exists, or has no directory or an unknown ending.
    """
    if path.suffix not in (".png", ".npz"):
        raise ConfigError(f"--out {path}: the name must end in .png or .npz")
    if path.exists():
        raise ConfigError(f"--out {path}: it exists, and nothing is overwritten; choose another")
    if not path.parent.is_dir():
        raise ConfigError(
            f"--out {path}: the directory {path.parent} does not exist; make it first"
        )
    yield
    click.echo(f"wrote {path}")


def write_values(path: Path, **columns: Tensor) -> None:
    """Write named tensors (N, *shape) as arrays, or side by side as one picture.

    Raises:
        ConfigError: if a picture is asked for and the values are none.
        StorageError: if the file cannot be written.
    """
    import numpy as np
    import torch

    from vaeflow.pictures import grid, require_image, write_png

    if path.suffix == ".npz":
        with writing(path):
            np.savez(path, **{name: x.numpy() for name, x in columns.items()})  # type: ignore[arg-type]
        return
    first = next(iter(columns.values()))
    require_image(tuple(first.shape[1:]))
    tiles = torch.stack(list(columns.values()), 1).flatten(0, 1)
    write_png(grid(tiles, columns=None if len(columns) == 1 else 8), path)
