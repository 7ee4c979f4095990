"""Decoded walks as figures: pictures in rows, signals over each other, columns as curves.

Shapes: R walks, S steps of each, D values of an example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.data.columns import Column, Columns
from vaeflow.errors import ConfigError, printable
from vaeflow.latents.chosen import chosen_columns
from vaeflow.latents.figures import COLOURS, blank, style
from vaeflow.pictures import is_image, is_signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 4  # curves of a single walk in a row
_LINES = "- -- : -.".split()  # noqa: SIM905


@dataclass(frozen=True)
class Walks:
    """Decoded walks, ready to be drawn.

    Attributes:
        x: E[x|z] of each step (R, S, *data_shape).
        at: where each step is on its walk (S,), such as the share of a path.
        axis: what that is called.
        rows: what the walks are called (R,), "" of a single one.
        ends: of a single walk, the data at its two ends by name, in that order.
        columns: of a table.
        span: what is black and white in pictures.
        drawn: the names of the columns that are drawn; by default the first ones.
    """

    x: np.ndarray
    at: Sequence[float]
    axis: str
    rows: Sequence[str]
    ends: dict[str, np.ndarray]
    columns: Columns
    span: tuple[float, float]
    drawn: Sequence[str] | None = None

    def figure(self, title: str) -> Figure:
        """Return the figure.

        Raises:
            ConfigError: if the examples are neither pictures, nor signals, nor a list of values.
        """
        shape = self.x.shape[2:]
        if not self.columns and is_signal(shape):
            draw, data = _signals, "dotted: the data"
        elif not self.columns and is_image(shape):
            draw, data = _pictures, ""
        elif len(shape) == 1:
            draw, data = _curves, "points: the data"
        else:
            raise ConfigError(
                f"one example has shape {shape}, of which there is no picture: write the values, "
                "as in --out FILE.npz"
            )
        with style():
            figure = draw(self)
            hint = f"; {data}" if data and self.ends else ""
            figure.suptitle(printable(title) + hint, fontsize=11)
        return figure


def _pictures(walks: Walks) -> Figure:
    """Draw a row of pictures for each walk, the data at its ends beside it."""
    tiles = [[*row] for row in walks.x]
    heads = [f"{at:.3g}" for at in walks.at]
    if walks.ends:
        (first, a), (last, b) = walks.ends.items()
        tiles, heads = [[a, *tiles[0], b]], [first, *heads, last]
    ratio = walks.x.shape[-2] / walks.x.shape[-1] if walks.x.shape[-1] > 3 else 1.0
    width = float(np.clip(12 / len(heads), 0.62, 1.1))
    left = 0.9 if any(walks.rows) else 0.1
    size = (width * len(heads) + left, width * ratio * len(tiles) + 0.75)
    figure = blank(max(size[0], 4.0), size[1])
    cells = figure.subplots(len(tiles), len(heads), squeeze=False)
    for row, images, name in zip(cells, tiles, walks.rows, strict=True):
        for axes, image in zip(row, images, strict=True):
            show_image(axes, image, walks.span)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axes, head in zip(cells[0], heads, strict=True):
        axes.set_title(printable(head), fontsize=9)
    figure.supxlabel(walks.axis, fontsize=9)
    return figure


def show_image(axes: Axes, image: np.ndarray, span: tuple[float, float]) -> None:
    """Draw one picture (H, W), (1, H, W) or (3, H, W), without the ticks of its axes."""
    low, high = span
    pixels = ((image - low) / ((high - low) or 1.0)).clip(0, 1)
    pixels = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1).squeeze()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _signals(walks: Walks) -> Figure:
    """Draw the steps of a walk over each other: a row for each walk, a column for each channel."""
    x = walks.x.reshape(*walks.x.shape[:2], -1, walks.x.shape[-1])
    channels = x.shape[2]
    figure = blank(max(5.0, 3.2 * channels + 1), 1.7 * len(x) + 1)
    cells = figure.subplots(len(x), channels, squeeze=False, sharex=True, sharey="col")
    colours = _shades(len(walks.at))
    for axes in cells[-1]:
        axes.set_xlabel("time")
    for row, signals, name in zip(cells, x, walks.rows, strict=True):
        for c, axes in enumerate(row):
            for signal, colour in zip(signals, colours, strict=True):
                axes.plot(signal[c], color=colour, linewidth=1.2)
            for end, mark in zip(walks.ends.values(), (0, -1), strict=False):
                line = end.reshape(channels, -1)[c]
                axes.plot(line, ":", color=colours[mark], linewidth=1)
        row[0].set_ylabel(name or "E[x|z]")
    if channels > 1:
        for c, axes in enumerate(cells[0]):
            axes.set_title(f"channel {c}")
    _bar(figure, cells, walks)
    return figure


def _shades(count: int) -> Any:
    """Return colours from dark to light, for all kinds of colour vision."""
    from matplotlib import colormaps

    return colormaps["cividis"](np.linspace(0, 0.92, count))


def _bar(figure: Figure, cells: Any, walks: Walks) -> None:
    """Draw the bar that tells the step by its colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ScalarMappable(Normalize(walks.at[0], walks.at[-1]), ListedColormap(_shades(256)))
    figure.colorbar(shades, ax=cells, label=walks.axis, shrink=0.8)


def _curves(walks: Walks) -> Figure:
    """Draw a curve for each column, in its own units, and for each level its probability."""
    table = walks.columns or unnamed(walks.x.shape[-1])
    which, note = chosen_columns(walks.drawn, table)
    across = min(_ACROSS, len(which))
    down = math.ceil(len(which) / across)
    several = any(walks.rows)
    height = (1.8 * down + 0.4 * several) * len(walks.x) + (0.9 if note else 0.7)
    figure = blank(max(4.5, 2.3 * across + 0.6), height)
    slices = [*table.slices().values()]
    blocks = figure.subfigures(len(walks.x), 1, squeeze=False)[:, 0]
    cells = []
    for walk, block in enumerate(blocks):
        cells.append(block.subplots(down, across, squeeze=False, sharex=True))
        for axes, i in zip(cells[-1].flat, which, strict=False):
            _curve(axes, walks, walk, table[i], slices[i])
            axes.set_title(printable(table[i].name), fontsize=10)
        for index in range(len(which), across * down):
            cells[-1].flat[index].set_axis_off()
            cells[-1][-2, index % across].tick_params(labelbottom=True)
        if several:
            block.suptitle(walks.rows[walk].replace("\n", ", "), fontsize=11, weight="bold")
    for same in zip(*(cell.flat for cell in cells), strict=True):  # walks can be compared
        limits = [axes.get_ylim() for axes in same]
        for axes in same:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    figure.supxlabel(f"{walks.axis}\n{note}" if note else walks.axis, fontsize=10)
    return figure


def unnamed(count: int) -> Columns:
    """Return columns x0, x1, … of so many numbers."""
    return Columns(tuple(Column(f"x{i}", "number") for i in range(count)))


def in_columns(x: np.ndarray, table: Columns) -> tuple[list[str], np.ndarray]:
    """Return what each of the D numbers of x (*, D) is called, and x in the units of the data."""
    columns = table or unnamed(x.shape[-1])
    widths = [column.width for column in columns]
    spread = np.repeat([column.spread for column in columns], widths)
    center = np.repeat([column.center for column in columns], widths)
    return columns.labels(), x * spread + center


def _curve(axes: Axes, walks: Walks, walk: int, column: Column, where: slice) -> None:
    values = walks.x[walk, :, where].astype(np.float64)
    ends = [end[where].astype(np.float64) for end in walks.ends.values()]
    if not column.named:
        values = values * column.spread + column.center
        ends = [end * column.spread + column.center for end in ends]
    names = column.levels if column.kind == "category" else column.levels[1:]
    for i, line in enumerate(values.T):
        look: Any = {"color": COLOURS[i % len(COLOURS)], "linestyle": _LINES[i // len(COLOURS) % 4]}
        label = printable(names[i])[:16] if names else None
        axes.plot(walks.at, line, label=label, **look)
        marks = [(at, end[i]) for at, end in zip((walks.at[0], walks.at[-1]), ends, strict=False)]
        for at, end in marks:
            axes.plot(at, end, "o", color=look["color"], markersize=5, clip_on=False)
    if names:
        axes.set_ylim(-0.05, 1.05)
        if walk == 0 and len(names) <= 6:
            axes.legend(fontsize=7, frameon=False, handlelength=1.2, labelspacing=0.2)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e8e8e8")
