"""A folder of image files."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from vaeflow.data.cache import Cache, default_folder
from vaeflow.data.memory import fits
from vaeflow.data.places import in_files
from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored
from vaeflow.errors import DataError
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.unpacking import reason
from vaeflow.parts.datasets.fractions import Fraction, Fractions, below

if TYPE_CHECKING:
    from PIL import Image  # imported where files are read: it takes 30 ms

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB"}
_GREY = {"1", "L", "LA", "La"}
_ORIENTATION, _TURNED = 0x0112, {5, 6, 7, 8}  # the EXIF tag; values that swap height and width
_PNG_DEPTH = 24  # where the header, always the first chunk, holds the bits of a channel
_TIFF_DEPTH = 258  # the tag BitsPerSample
_LARGEST = 1 << 26  # pixels that a file may unpack to
_IN_MEMORY = 1 << 30  # bytes of all images, which are read anew for each run
_GROUP = 256  # images that are read at a time

Size = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=2)]


class Images(Dataset):
    """The image files of a folder and of the folders in it, in [0, 1].

    Folders named train, validation and test are the splits. Without them, all images, in the order
    of their paths, are shuffled with a fixed seed and split by the fractions below. Images are
    turned by their EXIF orientation. A film gives its first picture; transparency is ignored. Links
    are followed; files and folders whose names start with a dot are left out. Channels have 8 bits:
    files with more are refused, except for colours in PPM, which are rounded.

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
        folders = self._folders()
        files = [_files(folder) for folder in folders]
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
            x = self._read([file for group in files for file in group], pool)
        places = [in_files([str(file) for file in group]) for group in files]
        if len(folders) == 1:
            return self.fractions.split(x, self.path, places[0])
        names = [folder.name for folder in folders]
        *ends, _ = itertools.accumulate(len(group) for group in files)
        parts = [x[start:end] for start, end in itertools.pairwise([0, *ends, len(x)])]
        return Splits(*parts, places=dict(zip(names, places, strict=True)))

    def _folders(self) -> list[Path]:
        if not self.path.is_dir():
            raise DataError(f"{self.path} is no folder: check --dataset.path and --data-root")
        wanted = [self.path / name for name in ("train", "validation", "test")]
        found = [folder for folder in wanted if folder.is_dir()]
        if found and found != wanted:
            raise DataError(
                f"{self.path} holds the folders {', '.join(f.name for f in found)}: give train, "
                "validation and test, or none of them"
            )
        return found or [self.path]

    def _read(self, files: list[Path], pool: ThreadPoolExecutor) -> Stored:
        cache = Cache(
            self.cache or default_folder(),
            f"the images of {self.path}",
            [str(self.path.absolute()), self.size, self.fit, self.channels],
            tuple(files),
        )
        if (made := cache.find()) is not None:
            return Stored(made, 255)
        headers = list(pool.map(_header, files))
        channels = self.channels or (1 if all(header.grey for header in headers) else 3)
        height, width = self.size or headers[0].size
        if self.size is None:
            for file, header in zip(files, headers, strict=True):
                if header.size != (height, width):
                    raise DataError(
                        f"{file} has {_by(header.size)} pixels, but {files[0]} has "
                        f"{height}×{width}: give --dataset.size"
                    )
        shape = (len(files), channels, height, width)
        pixels = partial(_pixels, size=(height, width), fit=self.fit, channels=channels)
        groups = (files[i : i + _GROUP] for i in range(0, len(files), _GROUP))
        parts = (np.stack(list(pool.map(pixels, group))) for group in groups)
        needed = math.prod(shape)
        if needed > _IN_MEMORY or not fits(needed, torch.device("cpu")):
            return Stored(cache.make(parts, shape, np.dtype(np.uint8)), 255)
        x, done = np.empty(shape, np.uint8), 0
        for part in parts:
            x[done : done + len(part)] = part
            done += len(part)
        return Stored(x, 255)


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]  # height and width, after the turn by EXIF
    grey: bool


def _files(folder: Path) -> list[Path]:
    files = [path for path in _below(folder) if path.suffix.lower() in _SUFFIXES and path.is_file()]
    if not files:
        raise DataError(
            f"{folder} holds no image: files {', '.join(sorted(_SUFFIXES))} are looked for"
        )
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, through links, from each folder once."""
    seen = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:  # a link leads here, perhaps from within
            folders.clear()
            continue
        seen.add(real)
        # Sorted, because the first of two ways to a folder names its files.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(top, name) for name in names if not name.startswith("."))


def _header(file: Path) -> _Header:
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            if width * height > _LARGEST:
                raise ValueError(f"it has {height}×{width} pixels, more than {_LARGEST:,}")
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"its mode is {image.mode}, not 8 bits a channel")
            if (bits := _depth(file, image)) > 8:
                raise ValueError(f"it has {bits} bits a channel, not 8")
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            return _Header((width, height) if turned else (height, width), image.mode in _GREY)
    except Exception as error:  # Pillow's decoders raise a dozen kinds on a damaged file
        raise _unreadable(file, error) from None


def _depth(file: Path, image: Image.Image) -> int:
    """Return the bits of a channel in the file, which Pillow silently cuts to 8 for colours."""
    from PIL.TiffImagePlugin import TiffImageFile

    if image.format == "PNG":
        with open(file, "rb") as f:
            return f.read(_PNG_DEPTH + 1)[_PNG_DEPTH]
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(_TIFF_DEPTH, (1,))))
    return 8


def _pixels(
    file: Path, *, size: tuple[int, int], fit: Literal["crop", "stretch"], channels: int
) -> np.ndarray:
    """Return the image (channels, height, width) in grey levels 0 … 255."""
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            # Pillow warns if it cannot keep transparency, as for a palette with bytes of it.
            image.info.pop("transparency", None)
            image = image.convert(_MODES[channels])
    except Exception as error:
        raise _unreadable(file, error) from None
    if image.size != (width, height):
        resize = ImageOps.fit if fit == "crop" else Image.Image.resize
        image = resize(image, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} is not a readable image ({reason(error)}): replace it, or take it out of the "
        "folder"
    )


def _by(size: tuple[int, int]) -> str:
    return "×".join(map(str, size))
