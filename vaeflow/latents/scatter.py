"""Points in a plane, coloured by a label.

Shapes: N examples.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.errors import printable
from vaeflow.latents.figures import COLOURS, GREY, blank, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = 12  # different whole numbers that are levels; more of them are a scale
_SHOWN = 20  # levels that have a colour and a mark of their own
_POINTS = 20_000  # more of them hide each other, and make a file large
_MARKERS = "ox^+"  # far from each other at this size


def scatter(
    points: np.ndarray,
    values: np.ndarray | None = None,
    *,
    name: str = "label",
    axes: tuple[str, str] = ("z0", "z1"),
    title: str = "",
) -> Figure:
    """Draw points as a scatter plot.

    Texts, truth values and few whole numbers are levels: each has a colour and a mark, which the
    legend names. Of more than 20 levels the most frequent are told apart. Other numbers have a
    colour bar. A missing value is a hollow mark.

    Arguments:
        points: (N, 2).
        values: of each point (N,), or None.
        name: what the values are called.
        axes: what the two axes are called.
        title: above the plot.

    Returns:
        The figure: `figure.savefig(path)` writes it.
    """
    points = np.asarray(points, np.float64)
    order = np.random.RandomState(0).permutation(len(points))[:_POINTS]  # no level hides another
    points, kept = points[order], None if values is None else np.asarray(values)[order]
    with style():
        figure = blank(6.4, 5.2)
        plot = figure.subplots()
        size = float(np.clip(16_000 / max(len(points), 1), 5, 36))
        if kept is None:
            plot.scatter(
                points[:, 0], points[:, 1], s=size, color=COLOURS[0], linewidths=0, alpha=0.8
            )
        elif _is_scale(kept):
            _coloured(figure, plot, points, kept.astype(np.float64), printable(name), size)
        else:
            _levels(figure, plot, points, [_text(v) for v in kept.tolist()], printable(name), size)
        plot.set_xlabel(axes[0])
        plot.set_ylabel(axes[1])
        plot.set_title(printable(title))
        plot.grid(color="#e8e8e8")
        for points_of in plot.collections:
            points_of.set_rasterized(True)  # thousands of points in an .svg file
    return figure


def _is_scale(values: np.ndarray) -> bool:
    """Tell whether values are numbers of which a colour bar tells more than a legend."""
    if values.dtype.kind not in "iuf":
        return False
    known = np.unique(values[np.isfinite(values)])
    return len(known) > _KINDS or bool((known != np.floor(known)).any())


def _text(value: object) -> str:
    """Return a level as text, "" if it is missing."""
    if value is None or value != value:
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return printable(str(int(value) if whole else value))  # type: ignore[call-overload]


def _coloured(
    figure: Figure, plot: Axes, points: np.ndarray, values: np.ndarray, name: str, size: float
) -> None:
    known = np.isfinite(values)
    if not known.all():
        _hollow(plot, points[~known], size)
    low, high = np.quantile(values[known], (0.01, 0.99)) if known.any() else (0, 1)
    shown = plot.scatter(
        points[known, 0],
        points[known, 1],
        s=size,
        c=values[known],
        vmin=low,
        vmax=high,
        linewidths=0,
    )
    figure.colorbar(shown, ax=plot, label=name, extend="both", shrink=0.8)
    if missing := int((~known).sum()):
        figure.legend(handles=[_missing(missing)], loc="outside upper right", frameon=False)


def _levels(
    figure: Figure, plot: Axes, points: np.ndarray, texts: list[str], name: str, size: float
) -> None:
    counts = Counter(text for text in texts if text)
    shown = _sorted([level for level, _ in counts.most_common(_SHOWN)])
    look = {level: (COLOURS[i % len(COLOURS)], _MARKERS[i // len(COLOURS)])
            for i, level in enumerate(shown)}  # fmt: skip
    each = [look.get(text, (GREY, "o" if text else "")) for text in texts]
    _hollow(plot, points[[text == "" for text in texts]], size)
    for marker in dict.fromkeys(marker for _, marker in each if marker):
        chosen = [i for i, (_, m) in enumerate(each) if m == marker]
        colours = [each[i][0] for i in chosen]
        plot.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=size,
            c=colours,
            marker=marker,
            linewidths=1.2 if marker in "x+" else 0,
            alpha=0.8,
        )
    marks: list[Any] = [_mark(level[:24], *look[level]) for level in shown]
    if more := len(counts) - len(shown):
        marks.append(_mark(f"{more:,} others", GREY, "o"))
    if missing := texts.count(""):
        marks.append(_missing(missing))
    figure.legend(handles=marks, title=name, loc="outside right upper", frameon=False)


def _sorted(levels: list[str]) -> list[str]:
    """Return levels in their order, in which 9 comes before 10."""

    def key(level: str) -> list[tuple[bool, float, str]]:
        parts = re.findall(r"\d+|\D+", level)
        return [
            (part.isdecimal(), float(part) if part.isdecimal() else 0.0, part) for part in parts
        ]

    return sorted(levels, key=key)


def _hollow(plot: Axes, points: np.ndarray, size: float) -> None:
    """Draw points whose value is missing: on a scale of colours, any colour would be a value."""
    plot.scatter(
        points[:, 0], points[:, 1], s=size, facecolors="none", edgecolors="#555555", linewidths=0.8
    )


def _missing(count: int) -> Any:
    return _mark(f"missing ({count:,})", "#555555", "o", markerfacecolor="none")


def _mark(label: str, colour: str, marker: str, **look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, linestyle="", label=label, **look)
