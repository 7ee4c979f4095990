"""A folder of image files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from vaeflow.data.cache import Cache, default_folder
from vaeflow.data.memory import fits
from vaeflow.data.places import in_files
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored
from vaeflow.data.telling import log
from vaeflow.errors import DataError
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.pictures import SUFFIXES, Header, header, pixels
from vaeflow.parts.datasets.folders import classes, find_splits
from vaeflow.parts.datasets.fractions import Fraction, Fractions, below
from vaeflow.parts.datasets.labels import Labels
from vaeflow.parts.datasets.roles import WHOLE

_IN_MEMORY = 1 << 30  # bytes of all images, which are read anew for each run
_GROUP = 256  # images that are read at a time

Size = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=2)]


class Images(Dataset):
    """The image files of a folder and of the folders in it, in [0, 1].

    Folders in it named train (or training), test (testing) and validation (val, valid) are the
    splits; without the last, validation images are taken off the training images. Without any, all
    images, in the order of their paths, are shuffled with a fixed seed and split by the fractions
    below. Further folders are classes, and the label of an image is the first that it is in.

    Images are turned by their EXIF orientation. A film gives its first picture; transparency is
    left out. Links are followed; files and folders whose names start with a dot are left out.
    Channels have 8 bits, those of grey images 8 or 16, which all images share: files with more are
    refused, except for colours in PPM, which are rounded.

    Images of more than 1 GiB of pixels, or of half the free memory, are read once into a file.

    Options:
        path: the folder; below --data-root if a root is given.
        size: height,width to resize each image to, or the side of a square; without it, all images
            must have the same size.
        fit: crop scales an image until it covers the size, and cuts out the middle; stretch
            changes its proportions.
        channels: 1 for grey, 3 for colour; without it, 3 if there is an image in colour.
        validation: fraction of the images for validation.
        test: fraction of the images for the test.
        cache: the folder of the file that pixels are read into, where memory is too small for them;
            by default in the user's cache.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        path: Path,
        size: Size | None = None,
        fit: Literal["crop", "stretch"] = "crop",
        channels: Literal[1, 3] | None = None,
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
        cache: Path | None = None,
    ) -> None:
        super().__init__(root)
        self.path = below(root, path)
        self.cache = cache
        self.size = size and (size[0], size[-1])
        self.fit = fit
        self.channels = channels
        self.fractions = Fractions(validation, test)

    def load(self) -> Splits:
        if not self.path.is_dir():
            raise DataError(f"{self.path} is no folder: check --dataset.path and --data-root")
        groups = find_splits(self.path, SUFFIXES)
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
            x = self._read([file for group in groups.values() for file in group], pool)
        places = {split: in_files([*map(str, group)]) for split, group in groups.items()}
        labels = _labels(self.path, groups)
        rows = {split: self._names(group) for split, group in groups.items()}
        if WHOLE in groups:
            whole = (places[WHOLE], labels.get(WHOLE), rows[WHOLE])
            return self.fractions.split(x, self.path, *whole)
        ends = [*itertools.accumulate(map(len, groups.values()))]
        parts = {
            split: x[end - len(group) : end]
            for (split, group), end in zip(groups.items(), ends, strict=True)
        }
        held_out = "validation" in parts
        parts.setdefault("validation", x[:0])
        splits = Splits(*(parts[name] for name in NAMES), places=places, labels=labels, rows=rows)
        return splits if held_out else self.fractions.hold_out(splits, self.path)

    def _names(self, files: list[Path]) -> np.ndarray:
        """Return the paths of files below the folder, as texts."""
        return np.array([file.relative_to(self.path).as_posix() for file in files], object)

    def _read(self, files: list[Path], pool: ThreadPoolExecutor) -> Stored:
        cache = Cache(
            self.cache or default_folder(),
            f"the images of {self.path}",
            [str(self.path.absolute()), self.size, self.fit, self.channels],
            tuple(files),
        )
        if (made := cache.find()) is not None:
            return _levels(made)
        headers = list(pool.map(header, files))
        each = [*zip(files, headers, strict=True)]
        self._check(each)
        self._tell(each)
        like = headers[0]
        height, width = self.size or like.size
        channels = self.channels or (1 if all(header.grey for header in headers) else 3)
        dtype = np.dtype(np.uint16 if like.deep else np.uint8)
        shape = (len(files), channels, height, width)
        read = partial(pixels, size=(height, width), fit=self.fit, channels=channels)
        groups = (files[i : i + _GROUP] for i in range(0, len(files), _GROUP))
        parts = (np.stack(list(pool.map(read, group))) for group in groups)
        needed = math.prod(shape) * dtype.itemsize
        if needed > _IN_MEMORY or not fits(needed, torch.device("cpu")):
            return _levels(cache.make(parts, shape, dtype))
        x, done = np.empty(shape, dtype), 0
        for part in parts:
            x[done : done + len(part)] = part
            done += len(part)
        return _levels(x)

    def _check(self, each: Sequence[tuple[Path, Header]]) -> None:
        """Refuse images of several sizes, where none is given, and of levels of two kinds."""
        first, like = each[0]
        for file, other in each:
            if self.size is None and other.size != like.size:
                raise DataError(
                    f"{file} has {_by(other.size)} pixels, but {first} has {_by(like.size)}: give "
                    "--dataset.size"
                )
            if other.deep != like.deep:
                deep, flat = (file, first) if other.deep else (first, file)
                raise DataError(
                    f"{deep} has 16 bits a channel, but {flat} has 8: convert all of them to one"
                )

    def _tell(self, each: Sequence[tuple[Path, Header]]) -> None:
        """Say what is taken of images that are more than levels of one kind."""
        count = len(each)
        if alpha := [file for file, header in each if header.alpha]:
            log.warning(
                "%d of the %d images of %s have transparency, which is left out; the first is %s",
                len(alpha), count, self.path, alpha[0],
            )  # fmt: skip
        if several := [file for file, header in each if header.several]:
            log.warning(
                "%d of the %d images of %s hold several pictures, of which the first is taken; one "
                "is %s", len(several), count, self.path, several[0],
            )  # fmt: skip
        grey = [file for file, header in each if header.grey]
        if self.channels is None and 0 < len(grey) < count:
            coloured = next(file for file, header in each if not header.grey)
            log.warning(
                "%s is grey and %s is in colour: all images are taken in colour, and "
                "--dataset.channels 1 takes them in grey", grey[0], coloured,
            )  # fmt: skip
        if each[0][1].deep:
            log.warning(
                "the images of %s have 16 bits a channel: their values are k/65535", self.path
            )


def _levels(x: np.ndarray) -> Stored:
    return Stored(x, 255 if x.dtype == np.uint8 else 65535)


def _labels(path: Path, groups: Mapping[str, list[Path]]) -> dict[str, Labels]:
    """Return the class of each image, the first folder that it is in, as its label."""
    tops = {path} if WHOLE in groups else {file for file in path.iterdir() if file.is_dir()}
    found = {split: classes(tops, files) for split, files in groups.items()}
    return {split: {"label": names} for split, names in found.items() if names is not None}


def _by(size: tuple[int, int]) -> str:
    return "×".join(map(str, size))
