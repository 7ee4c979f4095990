"""Posteriors of two latent dimensions as a picture: the true one under each q."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.stored import ends
from vaeflow.diagnosis.plane import Window
from vaeflow.pictures import is_image, span_of
from vaeflow.storage import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHARES = (0.99, 0.9, 0.5)
_BOX = {"color": "white", "alpha": 0.7, "pad": 1}
_GREYS = ("#ececec", "#d0d0d0", "#a8a8a8")
_COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#a6761d")


def draw_portraits(
    windows: Sequence[Window], images: Tensor, path: Path, names: Sequence[str] = ()
) -> None:
    """Write the picture of `portraits` to a file.

    Raises:
        StorageError: if the file cannot be written.
    """
    figure = portraits(windows, images, names)
    with writing(path):
        figure.savefig(path, dpi=150)


def portraits(windows: Sequence[Window], images: Tensor, names: Sequence[str] = ()) -> Figure:
    """Draw a row for each image, a column for each q over p(z|x).

    Contours enclose 50, 90 and 99% of each density; a q that scores only its own draws is shown
    by its draws. KL(q ‖ p(z|x)) in nats stands in the corner.

    Arguments:
        windows: of each image.
        images: (B, *data_shape).
        names: of the images, such as their labels, which head their rows.
    """
    from matplotlib.figure import Figure

    qs = [*windows[0].draws]
    shown = int(is_image(tuple(images.shape[1:])))  # a column of its own
    columns, rows = len(qs) + shown, len(windows)
    span = span_of(*ends(images))
    figure = Figure(figsize=(2.1 * columns + 0.3, 2.1 * rows + 0.75), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False)
    for row, window, image in zip(cells, windows, images, strict=True):
        if shown:
            _show(row[0], image, span)
        for axes, name, colour in zip(row[shown:], qs, _COLOURS * columns, strict=False):
            _panel(axes, window, name, colour)
    for axes, name in zip(cells[0, shown:], qs, strict=True):
        axes.set_title(name, fontsize=9)
    for axes, name in zip(cells[:, 0], names, strict=False):
        axes.text(0.04, 0.95, name, va="top", fontsize=8, transform=axes.transAxes, bbox=_BOX)
    for axes in cells[-1, shown:]:
        axes.set_xlabel("$z_1$", fontsize=8, labelpad=1)
    for axes in cells[:, shown]:
        axes.set_ylabel("$z_2$", fontsize=8, labelpad=1)
    lines = ["grey: p(z|x), lines: q, around 50, 90 and 99% of each"]
    if columns == 1:  # too narrow for the line
        lines = ["grey: p(z|x), lines: q,", "around 50, 90 and 99%"]
    figure.suptitle("\n".join([*lines, "in the corner KL(q ‖ p(z|x)) in nats"]), fontsize=9)
    return figure


def _show(axes: Axes, image: Tensor, span: tuple[float, float]) -> None:
    low, high = span
    pixels = (image.float().cpu() - low) / ((high - low) or 1.0)
    pixels = pixels if pixels.dim() == 2 else pixels.movedim(0, -1).squeeze(-1)
    axes.imshow(pixels.clamp(0, 1).numpy(), cmap="gray_r", vmin=0, vmax=1)
    axes.set_axis_off()


def _panel(axes: Axes, window: Window, name: str, colour: str) -> None:
    plane = (window.first.numpy(), window.second.numpy())
    p = window.log_posterior
    axes.contourf(*plane, p.numpy(), levels=[*_levels(p), p.max().item() + 1], colors=_GREYS)
    if (q := window.log_q.get(name)) is not None:
        axes.contour(
            *plane, _drawable(q), levels=_levels(q), colors=colour,
            linewidths=(0.8, 1.0, 1.4), linestyles="solid",
        )  # fmt: skip
    else:
        axes.plot(*window.draws[name].T.numpy(), ".", color=colour, markersize=1, alpha=0.5)
    axes.text(
        0.96, 0.95, f"{window.divergence[name]:.2f}", ha="right", va="top", fontsize=8,
        transform=axes.transAxes, bbox=_BOX,
    )  # fmt: skip
    axes.tick_params(labelsize=6, length=2, pad=1)
    axes.locator_params(nbins=4)
    axes.set_aspect("equal")
    axes.set_xlim(plane[0][0], plane[0][-1])
    axes.set_ylim(plane[1][0], plane[1][-1])


def _levels(log_density: Tensor) -> list[float]:
    """Return the levels above which 99, 90 and 50% of a density on a grid lie, rising."""
    values = log_density.flatten().nan_to_num(-torch.inf).double().sort(descending=True).values
    mass = (values - values.logsumexp(0)).exp().cumsum(0)
    found = [values[int((mass < share).sum())].item() for share in _SHARES]
    return list(np.maximum.accumulate(found) + 1e-9 * np.arange(len(found)))


def _drawable(log_density: Tensor) -> Any:
    """Return an array without infinities; contours have holes there."""
    finite = log_density.nan_to_num(-torch.inf)
    return finite.clamp(min=finite.max().item() - 60).numpy()
