"""A result that is arrays, a table and a picture, and writes itself as each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.latents.figures import PICTURES, as_file
from vaeflow.parts.datasets.files.written import check_new, write_columns
from vaeflow.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (*PICTURES, ".npz", ".csv", ".tsv", ".parquet", ".arrow")


class Drawn(ABC):
    """A picture with its numbers: `figure()` draws it, `save(path)` writes it by the ending."""

    @property
    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers as arrays by name, as an .npz file has them."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, np.ndarray]:
        """Return the numbers as the columns of a table, by name."""

    @abstractmethod
    def figure(self) -> Figure:
        """Return a new matplotlib figure."""

    def save(self, path: str | Path) -> Path:
        """Write the picture (.png, .svg), the arrays (.npz) or the table (.csv, .tsv, .parquet, …).

        Returns:
            The path.

        Raises:
            ConfigError: if the file exists, or has no directory or another ending.
            StorageError: if it cannot be written.
        """
        path = Path(path)
        check_new(path, *ENDINGS, named="")
        ending = path.suffix.lower()
        if ending in PICTURES:
            write_file(path, as_file(self.figure(), ending))
        else:
            write_columns(path, self.arrays if ending == ".npz" else self.columns)
        return path

    def _repr_png_(self) -> bytes:
        """Return the picture that a notebook shows."""
        return as_file(self.figure(), ".png")
