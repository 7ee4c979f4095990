"""The plot of a comparison: NLL against the time of a step."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

_MARKERS = "osD^vP*X"  # with ten colours, forty pairs before one comes again
_ROW = 0.22  # inches, of the legend


def draw(numbers: Mapping[str, Any]) -> bytes:
    """Return a PNG: NLL over the time of a step, with the front of the best groups.

    Arguments:
        numbers: the content of report.json, from which a plot can be drawn again.
    """
    from matplotlib.figure import Figure

    groups = [group for group in numbers["groups"] if "ms_per_step" in group]
    figure = Figure(figsize=(8, max(4.2, _ROW * len(groups) + 1)), layout="constrained")
    axes = figure.subplots()
    for i, group in enumerate(groups):
        axes.errorbar(
            group["ms_per_step"],
            group["nll"],
            xerr=group.get("ms_per_step_error"),
            yerr=group.get("nll_error"),
            fmt=_MARKERS[i % len(_MARKERS)],
            color=f"C{i % 10}",
            markersize=7,
            capsize=3,
            label=group["label"],
        )
    if best := front(groups):  # its last point has the lowest NLL of all
        axes.plot(
            *zip(*best, (max(g["ms_per_step"] for g in groups), best[-1][1]), strict=True),
            color="0.7",
            zorder=0,
            drawstyle="steps-post",
            label="Pareto front",
        )
    axes.set_xlabel("milliseconds per training step")
    about = numbers["about"]
    by = about.get("proposal", "q")  # earlier reports had no other
    by += f", K = {about['samples']:,}" if by == "q" else ""
    axes.set_ylabel(f"NLL in nats, proposal {by} (lower is better)")
    handles, labels = axes.get_legend_handles_labels()  # lines come before error bars
    legend = figure.legend(
        handles[1:] + handles[:1], labels[1:] + labels[:1], loc="outside right upper", fontsize=9
    )
    for label in legend.get_texts():
        label.set_parse_math(False)  # a dollar in a name begins no formula
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()


def front(groups: list[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return time and NLL of each group that has a lower NLL than every faster one, by time."""
    front: list[tuple[float, float]] = []
    for time, nll in sorted((g["ms_per_step"], g["nll"]) for g in groups):
        if not front or nll < front[-1][1]:
            front.append((time, nll))
    return front
