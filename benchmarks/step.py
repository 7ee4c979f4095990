"""A training step against its bare matrix products, and beside its alternatives.

The network of the recipe zoltowski-mnist (784-500-500-20-500-500-784) at batch 100. Targets: the
identity posterior at most 1.6 times the bare products; 16 amortized planar maps at most 2.0 times
their own, and at least 2.2 times as fast as the loop written by hand; an IAF of 4 × 320 at most 1.7
times its own, and at least 1.8 times as fast as Pyro and zuko; an epoch of training at most 1.05
times its steps. The figures are in results/step.md.

    pip install -e '.[peers]'
    python benchmarks/step.py [--repeat 3] [--rounds 15] [--epochs 3] [--compiled]
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from shared.common import interleaved, machine, ratio, table, write_results
from shared.peers import PEERS, installed, peers
from shared.work import BATCH, WORK, data, floor, own_floor, vaeflow_step, vaeflow_trainer
from torch import nn

from vaeflow.data.splits import Splits
from vaeflow.runs.directory import Run
from vaeflow.training import Observer
from vaeflow.training.observers.metrics_file import MetricsFile
from vaeflow.training.observers.tensorboard import TensorBoard

Times = Mapping[str, Sequence[float]]  # of a contender, the seconds per step of each round


class Claim(NamedTuple):
    """A's time over b's is at most, or at least, a bound."""

    a: str
    b: str
    relation: str  # "≤" or "≥"
    bound: float

    def holds(self, measured: float) -> bool:
        """Tell whether a measured ratio keeps it."""
        return measured <= self.bound if self.relation == "≤" else measured >= self.bound


CLAIMS = (
    Claim("vaeflow identity", "floor", "≤", 1.6),
    Claim("compiled identity", "floor", "≤", 1.6),
    Claim("vaeflow planar 16", "own floor planar 16", "≤", 2.0),
    Claim("compiled planar 16", "own floor planar 16", "≤", 2.0),
    Claim("plain planar 16", "vaeflow planar 16", "≥", 2.2),
    Claim("vaeflow iaf 4 × 320", "own floor iaf 4 × 320", "≤", 1.7),
    Claim("compiled iaf 4 × 320", "own floor iaf 4 × 320", "≤", 1.7),
    Claim("Pyro iaf 4 × 320", "vaeflow iaf 4 × 320", "≥", 1.8),
    Claim("zuko iaf 4 × 320", "vaeflow iaf 4 × 320", "≥", 1.8),
    Claim("epoch", "its steps", "≤", 1.05),
)


class Memory(Observer):
    """Notes the peak memory of the process after each epoch."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def epoch(self, record: object, model: nn.Module) -> None:
        """Note the peak so far."""
        self.megabytes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def epoch_overhead(splits: Splits, epochs: int) -> dict[str, float]:
    """Train with default logging and checkpoints; return an epoch's time over its steps' time.

    Also the growth of the process's memory after the first epoch.
    """
    trainer = vaeflow_trainer({}, splits, epochs)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        memory = Memory()
        crew = [
            MetricsFile(run / "metrics.jsonl"),
            TensorBoard(run, {"recipe": "zoltowski-mnist"}, splits.validation, 10),
            memory,
        ]
        store = Run(run).store
        records = trainer.run(crew, store).records
    seconds = [r["seconds"] for r in records]
    spent = [b - a for a, b in zip([0.0, *seconds], seconds, strict=False)]
    steps = [len(splits.train) / r["images_per_second"] for r in records]
    # Checkpoints fall between the records, so the whole run is compared, not single epochs.
    return {
        "epoch_over_steps": trainer.progress.seconds / sum(steps),
        "seconds_per_epoch": statistics.median(spent),
        "memory_after_first_epoch_mb": memory.megabytes[0],
        "memory_after_last_epoch_mb": memory.megabytes[-1],
    }


def contenders(splits: Splits, *, compiled: bool) -> dict[str, Callable[[], object]]:
    """Return name -> one call: the floors, vaeflow's steps, the peers' steps."""
    calls: dict[str, Callable[[], object]] = {"floor": floor()}
    for name, options in WORK.items():
        trainer = vaeflow_trainer(options, splits, 1)
        calls[f"own floor {name}"] = own_floor(trainer)
        calls[f"vaeflow {name}"] = vaeflow_step(trainer)
        if compiled:
            trainer = vaeflow_trainer({**options, "compile": True}, splits, 1)
            calls[f"compiled {name}"] = vaeflow_step(trainer)
    return calls | peers(splits.train)


def first_calls(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the seconds of each contender's first step, in which a model is compiled."""
    seconds = {}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - start
    return seconds


def break_even(runs: Sequence[Times], first: Mapping[str, float]) -> list[list[str]]:
    """Return a row for each compiled model: the seconds, the gain, and the steps that repay it."""
    rows = []
    for name in (n for n in first if n.startswith("compiled ")):
        work = name.partition(" ")[2]
        eager, compiled = (
            statistics.median(s for times in runs for s in times[n])
            for n in (f"vaeflow {work}", name)
        )
        gain = eager - compiled
        steps = f"{first[name] / gain:,.0f}" if gain > 0 else "never"
        rows.append([work, f"{first[name]:.0f}", f"{1e3 * gain:.2f}", steps])
    return rows


def ratios(runs: Sequence[Times], a: str, b: str) -> list[float]:
    """Return a's time over b's in each run; none where one of them is missing."""
    return [ratio(times, a, b) for times in runs if a in times and b in times]


def spell(values: Sequence[float]) -> str:
    """Write the ratios of the runs."""
    return ", ".join(f"{value:.2f}" for value in values)


def rows_of(runs: Sequence[Times]) -> list[list[str]]:
    """Return a row for each contender, grouped by the same work."""
    rows = []
    names = [name for name in runs[0] if not name.startswith("own floor")]
    order = ["", *WORK]
    for name in sorted(names, key=lambda n: order.index(n.partition(" ")[2])):
        who, _, work = name.partition(" ")
        ours = who in ("vaeflow", "compiled")
        own = ratios(runs, name, f"own floor {work}") if ours else []
        other = ratios(runs, name, f"vaeflow {work}") if who != "vaeflow" else []
        seconds = [s for times in runs for s in times[name]]
        cells = (ratios(runs, name, "floor") if work else [], own, other)
        rows.append([name, f"{1e3 * statistics.median(seconds):.2f}", *map(spell, cells)])
    return rows


def verdicts(runs: Sequence[Times], epochs: Sequence[float]) -> list[list[str]]:
    """Return a row for each claim that could be measured: its words, and how often it held."""
    rows = []
    for claim in CLAIMS:
        measured = list(epochs) if claim.a == "epoch" else ratios(runs, claim.a, claim.b)
        if measured:
            met = f"{sum(map(claim.holds, measured))} of {len(measured)}"
            said = f"{claim.relation} {claim.bound}"
            rows.append([f"{claim.a} over {claim.b}", said, spell(measured), met])
    return rows


def report(figures: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    runs, whole = figures["runs"], figures["epochs"]
    rounds = len(runs[0]["floor"])
    compiled = break_even(runs, figures["first_steps"])
    flag = " --compiled" if compiled else ""
    text = (
        f"# A training step\n\nMeasured by `python benchmarks/step.py{flag}`: batch {BATCH}, "
        f"784-500-500-20-500-500-784, float32, {len(runs)} runs in one process, each of {rounds} "
        "rounds in which all take turns. A ratio is the median over a run's rounds, and each run "
        "has its own. Floor: the bare matrix products of the identity posterior's step; own floor: "
        "those of the row's own layers; × vaeflow: the time over vaeflow's for the same work. "
        "Pythae's and normflows' flows do not see the image.\n\n"
        + table(["step", "ms", "× floor", "× own floor", "× vaeflow"], rows_of(runs))
        + "\nWhat is claimed, and in how many runs it held:\n\n"
        + table(
            ["ratio", "claim", "measured", "met"],
            verdicts(runs, [w["epoch_over_steps"] for w in whole]),
        )
    )
    if compiled:
        headings = ["compiled", "first step, s", "gain per step, ms", "steps that repay it"]
        text += "\nWhen `--compile` pays:\n\n" + table(headings, compiled)
    if whole:
        text += (
            "\nAn epoch is one of the recipe with validation, TensorBoard and checkpoints, which "
            f"takes {statistics.median(w['seconds_per_epoch'] for w in whole):.2f} s. Peak memory "
            f"after the first {whole[0]['memory_after_first_epoch_mb']:.0f} MB, after the last "
            f"{whole[0]['memory_after_last_epoch_mb']:.0f} MB.\n"
        )
    return text + f"\nMachine: {figures['machine']}.\n"


@click.command()
@click.option("--repeat", default=3, show_default=True, help="Runs of the whole measurement.")
@click.option("--rounds", default=15, show_default=True, help="Rounds of a run.")
@click.option("--steps", default=20, show_default=True, help="Steps of a contender in a round.")
@click.option("--epochs", default=3, show_default=True, help="Epochs of the whole training.")
@click.option("--compiled", is_flag=True, help="Time vaeflow's compiled steps as well.")
@click.option("--threads", type=int, help="CPU threads.")
def main(
    repeat: int, rounds: int, steps: int, epochs: int, compiled: bool, threads: int | None
) -> None:
    """Measure and write results/step.json and results/step.md."""
    if threads:
        torch.set_num_threads(threads)
    for name in PEERS:
        if not installed(name):
            click.echo(f"{name}: its library is not installed, so that it is left out")
    splits = data()
    calls = contenders(splits, compiled=compiled)
    figures = {
        "machine": machine(),
        "first_steps": first_calls(calls),
        "runs": [interleaved(calls, rounds=rounds, steps=steps) for _ in range(repeat)],
        "epochs": [epoch_overhead(splits, epochs) for _ in range(repeat)] if epochs else [],
    }
    write_results("step", figures, report(figures))


if __name__ == "__main__":
    main()
