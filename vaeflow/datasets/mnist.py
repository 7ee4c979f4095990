"""MNIST from its IDX files, at hand or downloaded once."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vaeflow.data import Dataset, Splits
from vaeflow.errors import DataError
from vaeflow.idx import decompressed, read_idx

# Of the unpacked bytes, so that re-compressed copies pass.
_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
_SOURCES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class MNIST(Dataset):
    """70,000 grey images of 28×28 handwritten digits, in [0, 1]. (LeCun et al. 1998.)

    The files are looked for below --data-root, then $VAEFLOW_DATA; with neither, they are
    downloaded once into the user's cache. The test split is the 10,000 test files.

    Options:
        validation: 5000 takes the first 5,000 training images, 10000 the last 10,000.
    """

    def __init__(
        self, root: Path | None = None, *, validation: Literal[5000, 10000] = 5000
    ) -> None:
        super().__init__(root)
        self.validation = validation

    def load(self) -> Splits:  # noqa: D102
        images, test = (_images(read_idx(path)) for path in self._files())
        if self.validation == 5000:
            validation, train = images[:5000], images[5000:]
        else:
            train, validation = images[:-10_000], images[-10_000:]
        return Splits(train, validation, test)

    def _files(self) -> list[Path]:
        root = self.root or (Path(p) if (p := os.environ.get("VAEFLOW_DATA")) else None)
        if root is None:
            return [_download(name) for name in _SHA256]
        files = [find(root, name) for name in _SHA256]
        for path in files:
            _verify(path)
        return files


def find(root: Path, name: str) -> Path:
    """Return the file `name`, gzipped or plain, in `root` or in its folder mnist.

    Raises:
        DataError: if there is none.
    """
    for folder in (root, root / "mnist", root / "MNIST" / "raw"):
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    raise DataError(
        f"{root} holds no {name}.gz: give the directory of the MNIST files with --data-root, or "
        "leave it and $VAEFLOW_DATA out to download them"
    )


def _verify(path: Path) -> None:
    name = path.name.removesuffix(".gz")
    seen = hashlib.sha256(decompressed(path)).hexdigest()
    if seen != _SHA256[name]:
        raise DataError(
            f"{path} unpacks to SHA-256 {seen[:12]}…, but MNIST's {name} has "
            f"{_SHA256[name][:12]}…: fetch the file again, or load other data with --dataset file"
        )


def _download(name: str) -> Path:
    """Return the verified file in the user's cache, fetched from the first source that has it."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    cache = Path(pooch.os_cache("vaeflow")) / "mnist"
    failures = []
    for source in _SOURCES:
        try:
            path = pooch.retrieve(f"{source}{name}.gz", None, fname=f"{name}.gz", path=cache)
        except Exception as error:  # requests, sockets and pooch each have their own
            failures.append(f"{source}: {type(error).__name__}")
            continue
        try:
            _verify(Path(path))
            return Path(path)
        except DataError as error:
            Path(path).unlink()
            failures.append(str(error))
    raise DataError(
        f"{name}.gz could not be downloaded ({'; '.join(failures)}): fetch it yourself and name "
        "its directory with --data-root"
    )


def _images(raw: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(raw.astype(np.float32) / 255).unsqueeze(1)
