"""Letters, colours for all kinds of colour vision, and files: shared by all figures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg")
# Okabe and Ito (2008), without the yellow, which is too light for points and lines on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")
GREY = "#9a9a9a"
_DPI = 150
_FEW = 8192  # colours that 256 stand for without being told apart
_STYLE: Any = {
    "figure.dpi": _DPI,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "image.cmap": "cividis",  # rises in lightness, for all kinds of colour vision
    "svg.hashsalt": "vaeflow",  # the same file for the same figure
    "text.parse_math": False,  # a dollar in a name begins no formula
}


@contextmanager
def style() -> Iterator[None]:
    """Give the figures that are made within the block their letters and lines."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def blank(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, which leaves room for its labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def as_file(figure: Figure, ending: str) -> bytes:
    """Return a figure as the content of a .png or .svg file."""
    out = io.BytesIO()
    about = {"Date": None} if ending == ".svg" else {"Software": None}
    with style():
        figure.savefig(out, format=ending[1:], dpi=_DPI, metadata=about)
    return out.getvalue() if ending == ".svg" else _smaller(out)


def _smaller(png: io.BytesIO) -> bytes:
    """Return a PNG with a palette, of half the size, if it has few colours: no photographs."""
    from PIL import Image

    picture, out = Image.open(png).convert("RGB"), io.BytesIO()
    if picture.getcolors(_FEW) is not None:
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(out, "PNG", dpi=(_DPI, _DPI), optimize=True)
    return out.getvalue()
