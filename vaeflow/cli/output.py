"""Writing pictures, arrays and tables that a command was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.cli.voice import say
from vaeflow.parts.datasets.files.written import TABLES, check_new, write_columns

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vaeflow.data.columns import Columns

__all__ = ["TABLES", "check_new", "new_file", "write_columns", "write_rows", "write_values"]


@contextmanager
def new_file(path: Path, *endings: str) -> Iterator[None]:
    """Check that `path` can be made, before the work; name the file, after it.

    Raises:
        ConfigError: if it exists, or has no directory or another ending.
    """
    check_new(path, *endings)
    yield
    say(f"wrote {path}")


def write_values(path: Path, *, span: tuple[float, float] = (0.0, 1.0), **columns: Tensor) -> None:
    """Write named tensors (N, *shape) as arrays, or as one picture.

    Arguments:
        path: the file, .npz or .png.
        span: the values that are black and white in a picture.
        columns: several are of the same examples.

    Raises:
        ConfigError: if a picture is asked for and the values are none.
        StorageError: if the file cannot be written.
    """
    from vaeflow.pictures import draw, write_png

    if path.suffix == ".npz":
        write_columns(path, {name: x.numpy() for name, x in columns.items()})
        return
    across = None if len(columns) == 1 else 4
    write_png(draw(*columns.values(), span=span, across=across), path)


def write_rows(
    path: Path, columns: Columns, beside: Mapping[str, np.ndarray], **rows: Tensor
) -> None:
    """Write tensors (N, D) of a table's examples by its columns, in its own units.

    Behind them stands what is `beside`, (N,) by name. Of several tensors the columns stand side by
    side; from the second on, the tensor's name joins the column's: "age", "age_reconstructed".

    Raises:
        StorageError: if the file cannot be written.
    """
    from vaeflow.data.beside import apart
    from vaeflow.data.units import in_units

    each = {name: in_units(columns, x.cpu().numpy()) for name, x in rows.items()}
    first = next(iter(each))
    values: dict[str, np.ndarray] = {}
    for column in columns.names:
        for name, found in each.items():
            taken = {*columns.names, *values} if name != first else ()
            key = column if name == first else f"{column}_{name}"
            values |= apart({key: found[column]}, taken, f"_{name}")
    write_columns(path, {**values, **apart(beside, values)})
