"""Results that are arrays and a table, some also a picture, and write themselves as each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.latents.figures import PICTURES, as_file
from vaeflow.parts.datasets.files.written import TABLES, check_new, write_columns
from vaeflow.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERS = (".npz", *TABLES)
ENDINGS = (*PICTURES, *NUMBERS)


class Saved(ABC):
    """Numbers by name: `save(path)` writes them as arrays or as a table, by the ending."""

    @property
    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers as arrays by name, as an .npz file has them."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, np.ndarray]:
        """Return the numbers as the columns of a table, by name."""

    def save(self, path: str | Path) -> Path:
        """Write the arrays (.npz) or the table (.csv, .tsv, .parquet or .arrow).

        Returns:
            The path.

        Raises:
            ConfigError: if the file exists, or has no directory or another ending.
            StorageError: if it cannot be written.
        """
        path = Path(path)
        check_new(path, *NUMBERS, named="")
        write_columns(path, self.arrays if path.suffix.lower() == ".npz" else self.columns)
        return path


class Drawn(Saved):
    """A picture with its numbers: `figure()` draws it, `save(path)` writes it by the ending."""

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
        path, ending = Path(path), Path(path).suffix.lower()
        check_new(path, *ENDINGS, named="")
        if ending not in PICTURES:
            return super().save(path)
        write_file(path, as_file(self.figure(), ending))
        return path

    def __repr__(self) -> str:
        shapes = (f"{name} {values.shape}" for name, values in self.arrays.items())
        return f"{type(self).__name__}({', '.join(shapes)})"

    def _repr_png_(self) -> bytes:
        """Return the picture that a notebook shows."""
        return as_file(self.figure(), ".png")
