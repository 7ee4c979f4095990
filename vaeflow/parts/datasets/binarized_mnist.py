"""MNIST binarized once and for all."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored
from vaeflow.errors import DataError
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.download import Origin
from vaeflow.parts.datasets.files.unpacking import decompressed

_PIXELS = 28 * 28


class BinarizedMNIST(Dataset):
    """70,000 binary images of 28×28 digits: static MNIST. (Larochelle & Murray 2011.)

    Each pixel was drawn once from its grey level (Salakhutdinov & Murray 2008). The splits are the
    three files: 50,000 / 10,000 / 10,000. Its bounds are not comparable with bounds on
    `mnist`, which is drawn anew at each visit.

    The files are looked for below --data-root, then $VAEFLOW_DATA; with neither, they are
    downloaded once into the user's cache.
    """

    origin: ClassVar[Origin] = Origin(
        title="Binarized MNIST",
        folder="binarized-mnist",
        sources=(
            "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
            "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        ),
        checksums={  # of TensorFlow Datasets
            "binarized_mnist_train.amat": (
                "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
            ),
            "binarized_mnist_valid.amat": (
                "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
            ),
            "binarized_mnist_test.amat": (
                "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
            ),
        },
        folders=("MNIST_static", "BinaryMNIST"),
    )

    def load(self) -> Splits:
        return Splits(*(self.origin.load(x, self.root, _read) for x in self.origin.checksums))


def _read(path: Path) -> Stored:
    """Read an image from each line of 784 numbers 0 and 1, with spaces between them."""
    lines = decompressed(path).splitlines()
    rows = [line.translate(None, b" \t") for line in lines]  # numpy.loadtxt takes a minute
    for number, row in enumerate(rows, 1):
        if len(row) != _PIXELS or row.strip(b"01"):
            raise DataError(
                f"{path}: line {number} is not {_PIXELS} numbers 0 and 1: fetch the file again"
            )
    if not rows:
        raise DataError(f"{path} holds no image: fetch the file again")
    bits = np.frombuffer(b"".join(rows), np.uint8) - ord("0")
    return Stored(bits.reshape(-1, 1, 28, 28))
