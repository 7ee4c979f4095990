"""Omniglot as the importance-weighted autoencoder split it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.splits import NAMES, Splits
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.download import Origin
from vaeflow.parts.datasets.files.matlab import read_mat, upright
from vaeflow.parts.datasets.labels import Labels, LaterLabels

_SHAPES = {"data": (784, 24_345), "testdata": (784, 8_070)}
_VALIDATION = 1_345
_SEED = 123


class Omniglot(Dataset):
    """32,415 grey images of 28×28 characters of 50 alphabets, in [0, 1]. (Lake et al. 2015.)

    The file chardata.mat and the split are of the code of Burda, Grosse & Salakhutdinov (2016):
    8,070 images are for the test. The other 24,345 are shuffled with their seed, 123, and the last
    1,345 are for validation; the code of Sylvester flows takes as many, but shuffles with the seed
    of the run. Pictures are stored column by column, as both codes read them, and are turned
    upright. The label is the number of the alphabet.

    The file is looked for below --data-root, then $VAEFLOW_DATA; with neither, it is downloaded
    once into the user's cache.
    """

    origin: ClassVar[Origin] = Origin(
        title="Omniglot",
        folder="omniglot",
        sources=("https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/",),
        checksums={"chardata.mat": None},
        folders=("OMNIGLOT",),  # the name in the code of Sylvester flows
    )

    def load(self) -> Splits:
        images, test = self.origin.load("chardata.mat", self.root, _read)
        order = _order(len(images))
        train, validation = images[order].split([len(images) - _VALIDATION, _VALIDATION])
        return Splits(train, validation, test, labels=LaterLabels(self._labels))

    def _labels(self) -> dict[str, Labels]:
        alphabets, test = self.origin.load("chardata.mat", self.root, _alphabets)
        shuffled = alphabets[_order(len(alphabets)).numpy()]
        each = (*np.split(shuffled, [len(alphabets) - _VALIDATION]), test)
        return {split: {"label": part} for split, part in zip(NAMES, each, strict=True)}


def _order(count: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(_SEED).permutation(count))


def _alphabets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the number of each character's alphabet, from 0 to 49, of which one is marked by 1."""
    shapes = {"target": (50, _SHAPES["data"][1]), "testtarget": (50, _SHAPES["testdata"][1])}
    arrays = read_mat(path, shapes, largest=1)
    marked, test = (arrays[name].argmax(0).astype(np.float64) for name in shapes)
    return marked, test


def _read(path: Path) -> tuple[Tensor, Tensor]:
    arrays = read_mat(path, _SHAPES, largest=1)
    images, test = (_images(arrays[name]) for name in _SHAPES)
    return images, test


def _images(columns: np.ndarray) -> Tensor:
    images = upright(columns.T.astype(np.float32), 28, 28)
    return torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1)
