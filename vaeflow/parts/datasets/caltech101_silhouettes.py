"""The Caltech 101 silhouettes of 28×28 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.download import Origin
from vaeflow.parts.datasets.files.matlab import read_mat, upright
from vaeflow.parts.datasets.labels import Labels, LaterLabels

_FILE = "caltech101_silhouettes_28_split1.mat"
_SHAPES = {"train_data": (4_100, 784), "val_data": (2_264, 784), "test_data": (2_307, 784)}


class Caltech101Silhouettes(Dataset):
    """8,671 binary images of 28×28 outlines of objects. (Marlin et al. 2010.)

    The splits are the file's: 4,100 / 2,264 / 2,307. The file stores a black object, 0, on white,
    1. Here the object is 1: x becomes 1 − x, as in the code of the VampPrior and of Sylvester
    flows. Pictures are stored column by column, as both codes read them, and are turned upright.
    The label is the number of the object's class.
    The label is the number of the object's class.

    The file is looked for below --data-root, then $VAEFLOW_DATA; with neither, it is downloaded
    once into the user's cache.
    """

    origin: ClassVar[Origin] = Origin(
        title="Caltech 101 Silhouettes",
        folder="caltech101-silhouettes",
        sources=("https://people.cs.umass.edu/~marlin/data/",),
        checksums={_FILE: "4483e9c14b188fd09937f9ea6f9ea777"},  # of the benchmark dm_nevis
        folders=("Caltech101Silhouettes",),
    )

    def load(self) -> Splits:
        later = LaterLabels(lambda: self.origin.load(_FILE, self.root, _labels))
        return self.origin.load(_FILE, self.root, _read).but(labels=later)


def _read(path: Path) -> Splits:
    arrays = read_mat(path, _SHAPES, largest=1)
    objects = (1 - upright(arrays[name].astype(np.uint8), 28, 28) for name in _SHAPES)
    return Splits(*(Stored(x[:, None]) for x in objects))


def _labels(path: Path) -> dict[str, Labels]:
    """Read the number of each object's class, from 1 to 101."""
    shapes = {name.replace("data", "labels"): (count, 1) for name, (count, _) in _SHAPES.items()}
    arrays = read_mat(path, shapes, largest=101)
    each = zip(NAMES, shapes, strict=True)
    return {split: {"label": arrays[name][:, 0].astype(np.float64)} for split, name in each}
