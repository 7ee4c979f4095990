"""The plot of a comparison: NLL against the time of a step."""

from __future__ import annotations

import io

from vaeflow.comparison import Comparison
from vaeflow.differences import over_seeds


def draw(comparison: Comparison) -> bytes | None:
    """Return a PNG: NLL over the time of a step, and the groups that no other beats in both."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = [
        (g.label, over_seeds([r.milliseconds for r in g.runs]), g.bound("nll"))
        for g in comparison.groups
    ]
    best = float("inf")
    front: list[tuple[float, float]] = []
    for label, time, nll in sorted(points, key=lambda p: p[1].mean):
        axes.errorbar(
            time.mean,
            nll.mean,
            xerr=time.standard_error,
            yerr=nll.standard_error,
            fmt="o",
            capsize=3,
        )
        axes.annotate(label, (time.mean, nll.mean), xytext=(6, 6), textcoords="offset points")
        if nll.mean < best:
            best = nll.mean
            front.append((time.mean, nll.mean))
    axes.plot(*zip(*front, strict=True), color="0.7", zorder=0, drawstyle="steps-post")
    axes.set_xlabel("milliseconds per training step")
    samples = comparison.about["samples"]
    axes.set_ylabel(f"NLL in nats, K = {samples:,} (lower is better)")
    axes.margins(0.2)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()
