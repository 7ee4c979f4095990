"""MNIST and two data sets in its format: IDX files of 60,000 and 10,000 images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np

from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.download import Origin
from vaeflow.parts.datasets.files.idx import read_idx
from vaeflow.parts.datasets.labels import Labels, LaterLabels

_Sliced = TypeVar("_Sliced", Stored, np.ndarray)

# Of the unpacked bytes: copies that were compressed again pass.
_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
_LABELS_SHA256 = {
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MNIST(Dataset):
    """70,000 grey images of 28×28 handwritten digits, in [0, 1]. (LeCun et al. 1998.)

    The files are looked for below --data-root, then $VAEFLOW_DATA; with neither, they are
    downloaded once into the user's cache. The test split is the 10,000 test files. The label
    `digit` is read from the files of labels where it is asked for.

    Options:
        validation: 5000 takes the first 5,000 training images, 10000 the last 10,000.
    """

    origin: ClassVar[Origin] = Origin(
        title="MNIST",
        folder="mnist",
        sources=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        checksums=_SHA256,
        suffix=".gz",
        unpacked=True,
        folders=("MNIST/raw",),  # torchvision's
    )

    label: ClassVar[str] = "digit"
    label_checksums: ClassVar[Mapping[str, str]] = _LABELS_SHA256

    def __init__(
        self, root: Path | None = None, *, validation: Literal[5000, 10000] = 5000
    ) -> None:
        super().__init__(root)
        self.validation = validation

    def load(self) -> Splits:
        images, test = (self.origin.load(x, self.root, _images) for x in self.origin.checksums)
        return Splits(*self._parts(images), test, labels=LaterLabels(self._labels))

    def _labels(self) -> dict[str, Labels]:
        origin = replace(self.origin, checksums=self.label_checksums)
        numbers, test = (origin.load(x, self.root, _numbers) for x in origin.checksums)
        each = zip(NAMES, (*self._parts(numbers), test), strict=True)
        return {split: {self.label: values} for split, values in each}

    def _parts(self, x: _Sliced) -> tuple[_Sliced, _Sliced]:
        """Return the training and the validation part of the training files."""
        if self.validation == 5000:
            return x[5000:], x[:5000]
        return x[:-10_000], x[-10_000:]


class FashionMNIST(MNIST):
    """70,000 grey images of 28×28 pieces of clothing, in [0, 1]. (Xiao, Rasul & Vollgraf 2017.)

    Files, options and splits are like MNIST's; its makers set no validation data aside. The label
    is called `label`.
    """

    label = "label"

    origin: ClassVar[Origin] = Origin(
        title="Fashion-MNIST",
        folder="fashion-mnist",
        sources=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        checksums={  # of what the archives with its makers' checksums unpack to
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
        },
        suffix=".gz",
        unpacked=True,
        folders=("FashionMNIST/raw",),
    )
    label_checksums: ClassVar[Mapping[str, str]] = {
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    }


class KMNIST(MNIST):
    """70,000 grey images of 28×28 characters of old Japanese, in [0, 1]. (Clanuwat et al. 2018.)

    Files, options and splits are like MNIST's; its makers set no validation data aside. The label
    is called `label`.
    """

    label = "label"

    origin: ClassVar[Origin] = Origin(
        title="KMNIST",
        folder="kmnist",
        sources=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        checksums={  # torchvision's
            "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
            "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
        },
        suffix=".gz",
        folders=("KMNIST/raw",),
    )
    label_checksums: ClassVar[Mapping[str, str]] = {  # torchvision's
        "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
    }


def _images(path: Path) -> Stored:
    return Stored(read_idx(path)[:, None], 255)


def _numbers(path: Path) -> np.ndarray:
    return read_idx(path).astype(np.float64)
