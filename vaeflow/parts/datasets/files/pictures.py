"""Image files: what their headers tell, and their pixels as levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import reason

if TYPE_CHECKING:
    from PIL import Image  # imported where files are read: it takes 30 ms

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB"}
_GREY = {"1", "L", "LA", "La"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_ORIENTATION, _TURNED = 0x0112, {5, 6, 7, 8}  # the EXIF tag; values that swap height and width
_PNG_DEPTH = 24  # where the header, always the first chunk, holds the bits of a channel
_TIFF_DEPTH = 258  # the tag BitsPerSample
_LARGEST = 1 << 26  # pixels that a file may unpack to
_TOP = 65535  # the largest level of 16 bits


@dataclass(frozen=True)
class Header:
    """What the header of an image file tells.

    Attributes:
        size: height and width, after the turn by EXIF.
        grey: whether it has no colours; a palette of greys has none.
        deep: whether its levels have 16 bits, and not 8.
        alpha: whether it has transparency.
        several: whether it holds more than one picture.
    """

    size: tuple[int, int]
    grey: bool
    deep: bool = False
    alpha: bool = False
    several: bool = False


def header(file: Path) -> Header:
    """Read the header of an image file.

    Raises:
        DataError: naming the file, if it is none, is too large or has levels that are not read.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            if width * height > _LARGEST:
                raise ValueError(f"it has {height}×{width} pixels, more than {_LARGEST:,}")
            deep = _is_deep(image)
            if not deep and image.mode.startswith(("I", "F")):
                raise ValueError(f"its mode is {image.mode}, not 8 or 16 bits a channel")
            if not deep and (bits := _depth(file, image)) > 8:
                raise DataError(
                    f"{file} has {bits} bits a channel, which are read of grey images without "
                    "transparency alone: convert it to 8 bits"
                )
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            return Header(
                (width, height) if turned else (height, width),
                grey=deep or _is_grey(image),
                deep=deep,
                alpha=image.mode in _ALPHA or "transparency" in image.info,
                several=bool(getattr(image, "is_animated", False)),
            )
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds on a damaged file
        raise _unreadable(file, error) from None


def _is_deep(image: Image.Image) -> bool:
    # Of grey levels in PPM, those above 8 bits come as integers of 32, on the scale of 16.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _is_grey(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return image.mode in _GREY
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _depth(file: Path, image: Image.Image) -> int:
    """Return the bits of a channel in the file, which Pillow silently cuts to 8 for colours."""
    from PIL.TiffImagePlugin import TiffImageFile

    if image.format == "PNG":
        with open(file, "rb") as f:
            return f.read(_PNG_DEPTH + 1)[_PNG_DEPTH]
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(_TIFF_DEPTH, (1,))))
    return 8


def pixels(
    file: Path, *, size: tuple[int, int], fit: Literal["crop", "stretch"], channels: int
) -> np.ndarray:
    """Return the levels (channels, height, width) of an image, uint8 or, if it is deep, uint16.

    Raises:
        DataError: naming the file, if it cannot be decoded.
    """
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(file) as opened:
            deep = _is_deep(opened)
            image = ImageOps.exif_transpose(opened)
            # Pillow warns if it cannot keep transparency, as for a palette with bytes of it.
            image.info.pop("transparency", None)
            # Of 16 bits, floats are resized.
            image = image.convert("F" if deep else _MODES[channels])
    except Exception as error:
        raise _unreadable(file, error) from None
    if image.size != (width, height):
        resize = ImageOps.fit if fit == "crop" else Image.Image.resize
        image = resize(image, (width, height), Image.Resampling.BICUBIC)
    levels = np.asarray(image)
    if deep:
        levels = levels.round().clip(0, _TOP).astype(np.uint16)[:, :, None].repeat(channels, 2)
    return levels.reshape(height, width, channels).transpose(2, 0, 1)


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} is not a readable image ({reason(error)}): replace it, or take it out of the "
        "folder"
    )
