"""Images as one grid, signals as curves, and PNG files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.layout import dimensions_of
from vaeflow.errors import ConfigError
from vaeflow.storage import writing

_TIMES = 16  # fewer values are a vector, of which a curve tells nothing
_CELL = (72, 128)  # height and width of the curves of one example
_FINE = 2  # lines are drawn so many times larger, and averaged
_PLAIN = "#303030"
_COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#a6761d", "#e7298a")


def is_image(shape: tuple[int, ...]) -> bool:
    """Tell whether one example is a picture: (H, W), (1, H, W) or (3, H, W)."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))


def is_signal(shape: tuple[int, ...]) -> bool:
    """Tell whether one example is a signal: (T,) with T ≥ 16, or (C, T) with T ≥ 8 C."""
    return len(shape) in (1, 2) and dimensions_of(shape) == 1 and math.prod(shape) >= _TIMES


def is_drawable(shape: tuple[int, ...]) -> bool:
    """Tell whether `draw` can show an example."""
    return is_image(shape) or is_signal(shape)


def span_of(low: float, high: float) -> tuple[float, float]:
    """Return the values that are black and white in pictures of data in [low, high].

    Grey values in [0, 1] and in [−1, 1] keep their scale; all other data spans its range.
    """
    for least in (0.0, -1.0):
        if least <= low and high <= 1:
            return least, 1.0
    return low, high


def draw(
    *columns: Tensor, span: tuple[float, float] = (0.0, 1.0), across: int | None = None
) -> Tensor:
    """Return one picture (C, H, W) in [0, 1] of examples (N, *shape).

    Several tensors are of the same examples: their images stand side by side, and their curves lie
    over each other.

    Arguments:
        columns: the examples.
        span: what is black and white; of curves it is their own range.
        across: examples in a row; by default the picture is as square as N allows.

    Raises:
        ConfigError: if the examples are neither images nor signals.
    """
    shape = tuple(columns[0].shape[1:])
    require_drawable(shape)
    if is_signal(shape):
        return curves(*columns, across=across)
    tiles = torch.stack(columns, 1).flatten(0, 1)
    return grid(tiles, None if across is None else across * len(columns), span=span)


def grid(
    images: Tensor, columns: int | None = None, *, span: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Arrange images (N, *shape) in rows with a thin border; returns (C, H, W) in [0, 1].

    The values of `span` become 0 and 1, and values outside of it are clipped. By default the grid
    is as square as N allows.
    """
    low, high = span
    x = images.detach().float().cpu()
    x = ((x - low) / ((high - low) or 1.0)).clamp(0, 1)
    x = x.unsqueeze(1) if x.dim() == 3 else x
    columns = columns or math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    blank = x.new_full((rows * columns - len(x), *x.shape[1:]), 0.5)
    x = torch.nn.functional.pad(torch.cat([x, blank]), (1, 1, 1, 1), value=0.5)
    _, c, h, w = x.shape
    return (
        x.reshape(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)
    )


def curves(*signals: Tensor, across: int | None = None) -> Tensor:
    """Draw signals (N, T) or (N, C, T), all on one scale; returns (3, H, W) in [0, 1].

    Each example has a cell, and each channel a colour. Of several tensors the first is drawn in
    black, below the others: data below its reconstruction. A value that is not finite is a gap.
    """
    from PIL import Image, ImageDraw

    each = [x.detach().float().cpu().reshape(len(x), -1, x.shape[-1]).numpy() for x in signals]
    finite = np.concatenate([x[np.isfinite(x)] for x in each])
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    count, channels, times = each[0].shape
    across = across or math.ceil(math.sqrt(count))
    height, width = _FINE * _CELL[0], _FINE * _CELL[1]
    size = (across * width, math.ceil(count / across) * height)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    margin = 4 * _FINE
    xs = np.linspace(margin, width - margin, times)
    for i in range(count):
        top, left = i // across * height, i % across * width
        pen.rectangle((left, top, left + width, top + height), outline="#d0d0d0", width=_FINE)
        for k, x in enumerate(each):
            ys = (high - x[i]) / ((high - low) or 1.0) * (height - 2 * margin) + margin
            for c in range(channels):
                colour = _PLAIN if k == 0 and len(each) > 1 else _COLOURS[c % len(_COLOURS)]
                for piece in _pieces(np.stack([left + xs, top + ys[c]], 1)):
                    pen.line(piece, fill=colour, width=_FINE, joint="curve")
    pixels = np.asarray(canvas.reduce(_FINE), np.float32) / 255
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _pieces(points: np.ndarray) -> list[list[tuple[float, float]]]:
    """Return runs of points (T, 2) without gaps; a point alone becomes a short line."""
    fine = np.isfinite(points).all(1)
    cuts = np.flatnonzero(np.diff(fine)) + 1
    runs = [run for run, good in zip(np.split(points, cuts), np.split(fine, cuts), strict=True)
            if good[0]]  # fmt: skip
    return [[*map(tuple, run.tolist())] * (2 if len(run) == 1 else 1) for run in runs]


def write_png(picture: Tensor, path: Path, *, least: int = 512) -> None:
    """Write a picture (C, H, W) in [0, 1], magnified by a whole number to about `least` pixels.

    Raises:
        StorageError: if the file cannot be written.
    """
    from PIL import Image

    values = pixels(picture, least=least)
    with writing(path):
        Image.fromarray(values).save(path)


def pixels(picture: Tensor, *, least: int = 512) -> np.ndarray:
    """Return a picture (C, H, W) in [0, 1] as bytes (H', W') or (H', W', 3).

    It is magnified by a whole number to about `least` pixels.
    """
    values = (picture.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
    factor = max(1, round(least / max(values.shape[:2])))
    values = np.kron(values, np.ones((factor, factor, 1), np.uint8))
    return values.squeeze(-1) if values.shape[-1] == 1 else values


def require_drawable(shape: tuple[int, ...]) -> None:
    """Raise a `ConfigError` if `draw` cannot show an example."""
    if not is_drawable(shape):
        raise ConfigError(
            f"one example has shape {shape}, which is no picture ((H, W), (1, H, W) or (3, H, W)) "
            "and no signal: write the values with --out FILE.npz"
        )
