"""A training step on a machine that is quiet, and on one whose cores another process wants.

Claim: with the command line's limit on how long threads spin, a step beside a busy neighbour takes
at most two thirds of the time that it takes with torch's threads, and a quiet machine loses at most
a sixth. The figures are in results/contention.md.

    python benchmarks/contention.py [--rounds 5]

Each figure comes from a process of its own, as the limit is read where torch is loaded.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from vaeflow.cli import SPIN

KINDS = ("identity", "planar 16")
WAYS: dict[str, tuple[dict[str, str], list[str]]] = {
    "torch's threads": ({}, []),
    "vaeflow's threads": (SPIN, []),
    "--threads 1": ({}, ["--threads", "1"]),
}
NEIGHBOURS = {"quiet": 0, "one busy neighbour": 1}


def step_times(steps: int) -> dict[str, float]:
    """Return the seconds of a step of each kind of work, in this process."""
    from shared.work import WORK, data, vaeflow_step, vaeflow_trainer

    splits = data()
    times = {}
    for kind in KINDS:
        step = vaeflow_step(vaeflow_trainer(WORK[kind], splits, 1))
        for _ in range(5):
            step()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        times[kind] = (time.perf_counter() - start) / steps
    return times


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes computing."""
    running = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(way: str, steps: int) -> dict[str, float]:
    """Return the seconds of a step of each kind of work, in a process of its own."""
    variables, words = WAYS[way]
    inherited = {k: v for k, v in os.environ.items() if k not in SPIN}
    child = [sys.executable, __file__, "--child", "--steps", str(steps), *words]
    done = subprocess.run(
        child, env={**inherited, **variables}, capture_output=True, text=True, check=True
    )
    times: dict[str, float] = json.loads(done.stdout)
    return times


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Processes for each figure, in turns.")
@click.option("--steps", default=60, show_default=True, help="Steps of a process.")
@click.option("--child", is_flag=True, hidden=True)
@click.option("--threads", type=int, hidden=True)
def main(rounds: int, steps: int, child: bool, threads: int | None) -> None:
    """Measure and write results/contention.json and results/contention.md."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    if child:
        print(json.dumps(step_times(steps)))
        return
    from shared.common import machine, table, write_results

    seconds: dict[str, dict[str, list[dict[str, float]]]] = {
        state: {way: [] for way in WAYS} for state in NEIGHBOURS
    }
    for _ in range(rounds):
        for state, processes in NEIGHBOURS.items():
            with busy(processes):
                for way in WAYS:
                    seconds[state][way].append(measured(way, steps))
    rows = []
    for state, ways in seconds.items():
        for way, found in ways.items():
            ms = [1e3 * statistics.median(times[kind] for times in found) for kind in KINDS]
            rows.append([state, way, *(f"{value:.1f}" for value in ms)])
    text = (
        "# Threads beside others\n\nMeasured by `python benchmarks/contention.py`: medians of "
        f"{rounds} processes of {steps} steps each, taking turns. vaeflow's threads: "
        f"{' '.join(f'`{k}={v}`' for k, v in SPIN.items())}, which the command sets.\n\n"
        + table(["machine", "step with", *(f"{kind}, ms" for kind in KINDS)], rows)
        + f"\nMachine: {machine()}.\n"
    )
    write_results("contention", {"machine": machine(), "seconds": seconds}, text)


if __name__ == "__main__":
    main()
