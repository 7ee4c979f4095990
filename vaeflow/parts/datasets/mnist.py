"""MNIST and two data sets in its format: IDX files of 60,000 and 10,000 images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.download import Origin
from vaeflow.parts.datasets.files.idx import read_idx

# Of the unpacked bytes: copies that were compressed again pass.
_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}


class MNIST(Dataset):
    """70,000 grey images of 28×28 handwritten digits, in [0, 1]. (LeCun et al. 1998.)

    The files are looked for below --data-root, then $VAEFLOW_DATA; with neither, they are
    downloaded once into the user's cache. The test split is the 10,000 test files.

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

    def __init__(
        self, root: Path | None = None, *, validation: Literal[5000, 10000] = 5000
    ) -> None:
        super().__init__(root)
        self.validation = validation

    def load(self) -> Splits:
        images, test = (self.origin.load(x, self.root, _images) for x in self.origin.checksums)
        if self.validation == 5000:
            validation, train = images[:5000], images[5000:]
        else:
            train, validation = images[:-10_000], images[-10_000:]
        return Splits(train, validation, test)


class FashionMNIST(MNIST):
    """70,000 grey images of 28×28 pieces of clothing, in [0, 1]. (Xiao, Rasul & Vollgraf 2017.)

    Files, options and splits are like MNIST's; its makers set no validation data aside.
    """

    origin: ClassVar[Origin] = Origin(
        title="Fashion-MNIST",
        folder="fashion-mnist",
        sources=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        checksums={  # its makers' and torchvision's
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        },
        suffix=".gz",
        folders=("FashionMNIST/raw",),
    )


class KMNIST(MNIST):
    """70,000 grey images of 28×28 characters of old Japanese, in [0, 1]. (Clanuwat et al. 2018.)

    Files, options and splits are like MNIST's; its makers set no validation data aside.
    """

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


def _images(path: Path) -> Stored:
    return Stored(read_idx(path)[:, None], 255)
