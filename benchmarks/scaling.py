"""How the cost of a training step grows with the batch, the samples K and the flow's steps.

Claim: linearly, over a factor of 16 of each: the time is a constant and a price per unit, and 16
times the units take at most 16 times the time. The figures are in results/scaling.md.

    python benchmarks/scaling.py [--rounds 9]

The network of the recipe zoltowski-mnist (784-500-500-20-500-500-784), the objective iwae for K,
the posterior planar for its steps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import click
import numpy as np
import torch
from shared.common import interleaved, machine, table, write_results
from shared.work import BATCH, BINARY, WORK, data, vaeflow_step, vaeflow_trainer

from vaeflow.data.splits import Splits

FACTOR = 16
SIZES = {
    "batch": (50, 100, 200, 400, 800),
    "K": (1, 2, 4, 8, 16),
    "planar steps": (2, 4, 8, 16, 32),
}


class Line(NamedTuple):
    """The time a + b·n of a step of n units, in ms, by least squares of its relative error."""

    a: float
    b: float
    deviation: float  # the largest, as a share of the line
    growth: float  # time at 16 n₀ over 16 × the time at n₀, the smallest size


def fit(sizes: Sequence[int], ms: Sequence[float]) -> Line:
    """Fit a line to the times of a step."""
    n, time = np.array(sizes, float), np.array(ms)
    b, a = np.polyfit(n, time, 1, w=1 / time)
    line = a + b * n
    at = dict(zip(sizes, ms, strict=True))
    growth = at[FACTOR * sizes[0]] / (FACTOR * at[sizes[0]])
    return Line(float(a), float(b), float(np.abs(time / line - 1).max()), growth)


def step_of(kind: str, size: int, splits: Splits) -> Callable[[], float]:
    """Return a step in which the batch, K or the steps of the flow is `size`."""
    options: dict[str, object] = {**WORK["identity"]}
    if kind == "K":
        options["objective"] = {"name": "iwae", "samples": size}
    elif kind == "planar steps":
        options = {**BINARY, "posterior": {"name": "planar", "steps": size}}
    trainer = vaeflow_trainer(options, splits, 1)
    return vaeflow_step(trainer, size if kind == "batch" else BATCH)


def report(times: Mapping[str, Sequence[float]]) -> tuple[str, dict[str, Line]]:
    """Return the tables of all sizes and of the lines, and the lines."""
    rows: list[list[object]] = []
    lines = {}
    for kind, sizes in SIZES.items():
        ms = [1e3 * statistics.median(times[f"{kind} {n}"]) for n in sizes]
        lines[kind] = fit(sizes, ms)
        rows += [
            [kind, n, f"{t:.2f}", f"{t / n:.4f}", f"{lines[kind].a + lines[kind].b * n:.2f}"]
            for n, t in zip(sizes, ms, strict=True)
        ]
    fits = [
        [
            kind,
            f"{line.a:.2f} + {line.b:.4f} n",
            f"{line.deviation:.0%}",
            f"{line.growth:.2f}",
            "yes" if line.growth <= 1 else "no",
        ]
        for kind, line in lines.items()
    ]
    headings = ["grows", "line, ms", "largest deviation", "time at 16 n / 16 × at n", "at most 1"]
    text = table(headings, fits) + "\n" + table(["grows", "n", "ms", "ms / n", "line, ms"], rows)
    return text, lines


@click.command()
@click.option("--rounds", default=9, show_default=True, help="Rounds in which all take turns.")
@click.option("--steps", default=5, show_default=True, help="Steps of a contender in a round.")
@click.option("--threads", type=int, help="CPU threads.")
def main(rounds: int, steps: int, threads: int | None) -> None:
    """Measure and write results/scaling.json and results/scaling.md."""
    if threads:
        torch.set_num_threads(threads)
    splits = data()
    contenders = {
        f"{kind} {n}": step_of(kind, n, splits) for kind, sizes in SIZES.items() for n in sizes
    }
    times = interleaved(contenders, rounds=rounds, steps=steps)
    tables, lines = report(times)
    text = (
        f"# Growth of a step's cost\n\nMeasured by `python benchmarks/scaling.py`: medians of "
        f"{rounds} interleaved rounds of {steps} steps, float32. The batch is {BATCH} and the "
        "posterior the identity where they do not grow; K is of the objective iwae. The lines are "
        "fitted by least squares of the relative error.\n\n" + tables + f"\nMachine: {machine()}.\n"
    )
    fits = {kind: line._asdict() for kind, line in lines.items()}
    write_results("scaling", {"machine": machine(), "seconds": times, "lines": fits}, text)


if __name__ == "__main__":
    main()
