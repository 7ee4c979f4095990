"""The learning curves of runs as one picture.

Shapes: E epochs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.comparison.groups import FREE
from vaeflow.comparison.labels import differing, labels, short
from vaeflow.comparison.places import Place, find
from vaeflow.config.flat import flatten
from vaeflow.errors import ConfigError, printable
from vaeflow.latents.drawn import Drawn
from vaeflow.latents.figures import COLOURS, blank, style
from vaeflow.runs.directory import Run
from vaeflow.runs.paths import path_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger("vaeflow")
_MARKERS = "osD^vP*X"
_WIDE = 110  # letters of a line in the legend
_SETTINGS = 2  # that a label tells; runs that differ in more are called by their directories
_LEFT_OUT = 0.1  # the share of the first epochs that does not stretch the picture


@dataclass(frozen=True)
class Curve:
    """The learning curve of a run, in nats per example.

    Attributes:
        label: what tells the run from the others, as comparisons name it, or the name of its
            directory, where runs differ in more than two settings.
        name: of its directory.
        epochs: the numbers of the epochs (E,).
        train, validation: the ELBO of each (E,); NaN where there is none.
        best: the epoch of the best weights, or None.
    """

    label: str
    name: str
    epochs: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    best: int | None


@dataclass(frozen=True, repr=False, eq=False)
class Curves(Drawn):
    """The learning curves of runs."""

    each: tuple[Curve, ...]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns of the table."""
        return self.columns

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return run, label, epoch, train_elbo, validation_elbo and best, a line for each epoch."""
        counts = [len(curve.epochs) for curve in self.each]
        return {
            "run": np.repeat(np.array([curve.name for curve in self.each], object), counts),
            "label": np.repeat(np.array([curve.label for curve in self.each], object), counts),
            "epoch": np.concatenate([curve.epochs for curve in self.each]),
            "train_elbo": np.concatenate([curve.train for curve in self.each]),
            "validation_elbo": np.concatenate([curve.validation for curve in self.each]),
            "best": np.concatenate([curve.epochs == curve.best for curve in self.each]).astype(int),
        }

    def figure(self) -> Figure:
        """Return a new figure: validation solid, training dashed, the best epoch marked."""
        from matplotlib.ticker import MaxNLocator

        with style():
            figure = blank(8.0, 4.4 + 0.17 * self._lines())
            axes = figure.subplots()
            for curve, (colour, marker) in zip(self.each, self._looks(), strict=True):
                dots = "." if len(curve.epochs) == 1 else ""  # of which there is no line
                thin: Any = {"linewidth": 0.9, "alpha": 0.7, "marker": dots}
                axes.plot(curve.epochs, curve.train, "--", color=colour, **thin)
                axes.plot(curve.epochs, curve.validation, color=colour, linewidth=1.5, marker=dots)
                if curve.best is not None:
                    at = int(np.flatnonzero(curve.epochs == curve.best)[0])
                    axes.plot(curve.best, curve.validation[at], marker, color=colour, markersize=7)
            if (low := self._lowest()) is not None:
                axes.set_ylim(bottom=low)
                self._tell_cut(axes, low)
            if max(len(curve.epochs) for curve in self.each) == 1:
                axes.set_xlim(0, 2)
            axes.set_xlabel("epoch")
            axes.set_ylabel("ELBO, nats per example")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(color="#e8e8e8")
            self._legend(figure, axes)
        return figure

    def _tell_cut(self, axes: Axes, low: float) -> None:
        """Say where the first epochs begin, if that is below the picture."""
        first = np.concatenate([(*curve.train, *curve.validation) for curve in self.each])
        if (least := np.nanmin(first)) < low:
            axes.text(
                0.01, 0.01, f"the first epochs begin below, at {least:,.1f}",
                transform=axes.transAxes, fontsize=8, color="0.3", va="bottom",
                bbox={"color": "white", "alpha": 0.8, "pad": 1},
            )  # fmt: skip

    def _looks(self) -> list[tuple[str, str]]:
        """Return the colour and the marker of each run."""
        count = len(COLOURS)
        return [(COLOURS[i % count], _MARKERS[i // count % 8]) for i in range(len(self.each))]

    def _legend(self, figure: Figure, axes: Axes) -> None:
        """Draw the legend: in the plot if the names are few and short, else below it."""
        from matplotlib.lines import Line2D

        marks = [
            Line2D([], [], color=colour, marker=marker, label=fill(curve.label, _WIDE))
            for curve, (colour, marker) in zip(self.each, self._looks(), strict=True)
        ]
        marks += [
            Line2D([], [], color="0.3", label="validation"),
            Line2D([], [], color="0.3", linestyle="--", linewidth=0.9, label="training"),
            Line2D([], [], color="0.3", marker="o", linestyle="", label="best epoch"),
        ]
        if not self._below():
            axes.legend(handles=marks, loc="lower right")
            return
        across = 1 if self._longest() > 50 else 2
        figure.legend(handles=marks, loc="outside lower center", ncols=across, frameon=False)

    def _lines(self) -> int:
        """Return how many lines of names stand below the plot, about."""
        if not self._below():
            return 0
        return sum(len(curve.label) // _WIDE + 1 for curve in self.each)

    def _below(self) -> bool:
        return len(self.each) > 4 or self._longest() > 30

    def _longest(self) -> int:
        return max(len(curve.label) for curve in self.each)

    def _lowest(self) -> float | None:
        """Return where the picture ends below: the first epochs would leave no room to the rest."""
        later = [
            values[int(_LEFT_OUT * len(values)) + 1 :]
            for curve in self.each
            for values in (curve.train, curve.validation)
        ]
        known = np.concatenate(later)
        known = known[np.isfinite(known)]
        if len(known) < 2:
            return None
        low, high = float(known.min()), float(known.max())
        return low - 0.05 * (high - low) if high > low else None


def curves(*runs: str | Path | Run) -> Curves:
    """Return the learning curves of runs, as `vaeflow curves` draws them.

    Arguments:
        runs: run directories, or directories of benchmarks.

    Returns:
        The curves of `each` run, `.figure()` of matplotlib, and `.save(path)`, which writes .png,
        .svg, .npz or a table.

    Raises:
        CheckpointError: if a path is neither a run nor a benchmark.
        ConfigError: if no run has finished an epoch.
    """
    given = tuple(runs[0]) if len(runs) == 1 and isinstance(runs[0], list | tuple) else runs
    paths = [run.path if isinstance(run, Run) else path_of(run, "curves") for run in given]
    if not paths:
        raise ConfigError(
            'curves: give the directories of runs, as in vaeflow.curves("runs/a", "runs/b")'
        )
    places, _ = find(paths)
    begun = [place for place in places if (place.run.path / "config.toml").is_file()]
    records = {place.name: place.run.metrics for place in begun}
    drawn = [place for place in begun if records[place.name]]
    for place in places:
        if place not in drawn:
            log.warning("%s is left out: it has finished no epoch", place.name)
    if not drawn:
        raise ConfigError("curves: none of the runs has finished an epoch; train them first")
    settings = [_settings(place) for place in drawn]
    for name in ("dataset", "likelihood"):
        if len(parts := {str(each[f"{name}.name"]) for each in settings}) > 1:
            log.warning(
                "the runs are of %d %ss (%s): their ELBOs do not compare",
                len(parts), name, ", ".join(sorted(map(short, parts))),
            )  # fmt: skip
    names = labels(settings)
    if differing(settings) > _SETTINGS:
        names = [printable(place.name) for place in drawn]
    return Curves(
        tuple(
            _curve(place, name, records[place.name])
            for place, name in zip(drawn, names, strict=True)
        )
    )


def _settings(place: Place) -> dict[str, object]:
    """Return the settings that tell runs apart, the seed among them."""
    config = flatten(place.run.settings())
    return {key: value for key, value in config.items() if key == "seed" or key not in FREE}


def _curve(place: Place, label: str, records: Sequence[dict[str, float]]) -> Curve:
    epochs = np.array([record["epoch"] for record in records])
    train, validation = (
        np.array([_number(record.get(f"{split}/elbo")) for record in records])
        for split in ("train", "validation")
    )
    best = place.run.summary.get("best_epoch")
    if best is None and np.isfinite(validation).any():  # of a run that is not done
        best = int(epochs[np.nanargmax(validation)])
    return Curve(label, place.name, epochs, train, validation, best if best in epochs else None)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
