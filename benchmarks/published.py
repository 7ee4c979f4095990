"""How near do vaeflow's parts come to published figures? The protocol of Sylvester flows.

    python benchmarks/published.py [--dataset binarized-mnist] [--posterior O-SNF] [--minutes 9]

Six posteriors on the data sets that are at hand, as van den Berg et al. (2018) trained them; every
difference is named. It is work for a GPU: the same command goes on where it stopped, after
--minutes, Ctrl-C or a kill. Each call writes results/published.{md,json} of the runs that are
finished. With fewer --epochs, or a smaller -k, it is an attempt in small, and the report says so.
"""

from __future__ import annotations

import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from shared.common import machine, table, write_results
from shared.sylvester import (
    DATASETS,
    DIFFERENCES,
    FFJORD,
    PARTS,
    POSTERIORS,
    RECIPE,
    RUNS,
    SYLVESTER,
)

from vaeflow.benchmark.engines import launch, trouble
from vaeflow.benchmark.grid import FILE, Grid
from vaeflow.cli.signals import interruptible
from vaeflow.comparison.finished import Finished, look
from vaeflow.comparison.places import find
from vaeflow.config.layers import Layers
from vaeflow.errors import VaeflowError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.build import load_data
from vaeflow.text import show

Cells = Mapping[tuple[str, str], Mapping[str, Any]]  # (data set, posterior) -> the result of `read`
HEADINGS = ("", "−ELBO", "published", "NLL", "runs", "epochs", "best epoch", "hours of training")


def settings(epochs: int = RECIPE["epochs"]) -> str:
    """Return the settings of a run, as the command line writes them.

    A warm-up that would take more than half of the epochs is cut to that.
    """
    warmup = min(RECIPE["objective.warmup"], epochs // 2)
    values = {**RECIPE, "epochs": epochs, "objective.warmup": warmup}
    return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in values.items())


def command(dataset: str, posterior: str, *, epochs: int, runs: int, samples: int | None) -> str:
    """Return the line of `vaeflow benchmark` for one cell of the table."""
    data = DATASETS[dataset]
    seeds = f"--seeds {runs}"
    if data.splits:
        splits = ",".join(map(str, data.splits[:runs]))
        seeds = f"--seeds 1 --vary dataset.seed={splits} --anyway"  # each has its own test images
    return (
        f"{POSTERIORS[posterior]} {data.words} {PARTS} {settings(epochs)} {seeds} "
        f"--proposal q -k {samples or data.samples} --test-samples 1 --image-every 0 "
        "--no-tensorboard"
    )


def at_hand(dataset: str, plugins: Plugins) -> bool:
    """Tell whether a data set can be loaded, and print why not."""
    try:
        layers = Layers()
        layers.add({"dataset": dataset}, "benchmark")
        load_data(layers.resolve(plugins))
    except VaeflowError as error:
        print(f"{dataset}: {error}", flush=True)
        return False
    return True


def train(place: Path, line: str, stop: Callable[[], bool]) -> bool:
    """Train and evaluate one cell's runs, or go on with them; False if one fails."""
    print(f"vaeflow benchmark {line} --out {place}", flush=True)
    log = place.with_name(f"{place.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as out:
        code = launch(["benchmark", *shlex.split(line), "--out", str(place)], out, stop)
    if code == 0 or stop():
        return True
    print(f"failed: {trouble(log, code)}", flush=True)
    return False


def read(place: Path, *, bits: bool) -> dict[str, Any] | None:
    """Return the figures of one cell's finished runs, None if none was begun."""
    if not (place / FILE).is_file():
        return None
    grid = Grid.read(place)
    found = [look(run, "test", grid.way) for run in find([place])[0]]
    done = [run for run in found if isinstance(run, Finished)]
    return {
        "of": len(found),
        "K": grid.way.samples,
        "settings": {key: done[0].config[key] for key in RECIPE} if done else {},
        "runs": [_figures(run, bits=bits) for run in done],
    }


def _figures(run: Finished, *, bits: bool) -> dict[str, Any]:
    unit = math.prod(run.environment["data_shape"]) * math.log(2) if bits else 1.0
    return {
        "negative ELBO": -run.stored.bounds.elbo.values.mean().item() / unit,
        "NLL": run.stored.bounds.nll.values.mean().item() / unit,
        "epochs": run.run.metrics[-1]["epoch"],
        "best epoch": run.summary["best_epoch"],
        "hours": run.summary["seconds"] / 3600,
    }


def report(cells: Cells, missing: Sequence[str] = ()) -> str:
    """Return the tables, ours beside the paper's, and the differences in protocol.

    Arguments:
        cells: those that were begun.
        missing: data sets that could not be loaded.
    """
    options = [[name, f"`{words}`"] for name, words in POSTERIORS.items()]
    parts = [
        "# Published figures\n\nMeasured by `python benchmarks/published.py`: the protocol of "
        "*Sylvester normalizing flows* (van den Berg et al. 2018), by their code. Every run has "
        f"`{PARTS} {settings()}`, or what is said below, and\n\n{table(['', 'options'], options)}\n"
        "± is the standard deviation over runs. Published are −ELBOs of table 3 of FFJORD "
        "(Grathwohl et al. 2019), which reprints the paper's; of Sylvester flows it has one "
        "figure and does not say of which kind. A cell that was not run is empty. Where something "
        'differs, "there" is in the authors\' code.\n'
    ]
    for dataset, data in DATASETS.items():
        names = [*POSTERIORS, *(name for name in (SYLVESTER, FFJORD) if name in data.published)]
        rows = [_row(name, data.published, cells.get((dataset, name))) for name in names]
        unit = "bits per dimension" if data.bits else "nats per image"
        absent = dataset in missing and not any(d == dataset for d, _ in cells)
        parts.append(
            f"## {dataset}, in {unit}\n\n{data.note}"
            + (" Its files were not at hand." if absent else "")
            + f"\n\n{table(HEADINGS, rows)}"
        )
    said = [*less(cells), *DIFFERENCES]
    parts.append("## Differences in protocol\n\n" + "".join(f"- {words}\n" for words in said))
    return "\n".join(parts)


def _row(name: str, published: Mapping[str, str], cell: Mapping[str, Any] | None) -> list[str]:
    there = published.get(name, "")
    if cell is None:
        return [name, "", there, *[""] * 5]
    runs = cell["runs"]
    elbo, nll = (_mean([run[key] for run in runs]) for key in ("negative ELBO", "NLL"))
    epochs, best = (
        ", ".join(str(run[key] or "none") for run in runs) for key in ("epochs", "best epoch")
    )
    hours = f"{statistics.mean(run['hours'] for run in runs):.2f}" if runs else ""
    return [name, elbo, there, nll, f"{len(runs)} of {cell['of']}", epochs, best, hours]


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def less(cells: Cells) -> list[str]:
    """Return in words where finished runs had other settings than the paper's."""
    found: dict[str, list[str]] = {}
    for (dataset, posterior), cell in cells.items():
        if not cell["runs"]:
            continue
        ours = {**cell["settings"], "K": cell["K"], "runs": len(cell["runs"])}
        paper = {**RECIPE, "K": DATASETS[dataset].samples, "runs": RUNS}
        for key, value in paper.items():
            if ours[key] != value:
                words = f"{key} {show(ours[key])} in place of {show(value)}"
                found.setdefault(words, []).append(f"{posterior} on {dataset}")
    return [f"{words}: {', '.join(where)}." for words, where in found.items()]


@click.command()
@click.option("--dataset", "datasets", type=click.Choice([*DATASETS]), multiple=True)
@click.option("--posterior", "posteriors", type=click.Choice([*POSTERIORS]), multiple=True)
@click.option("--epochs", default=RECIPE["epochs"], show_default=True, help="At most, of each run.")
@click.option("--runs", type=click.IntRange(1, RUNS), default=RUNS, show_default=True)
@click.option("-k", "samples", type=int, help="K of the bounds.  [default: the paper's]")
@click.option("--minutes", default=math.inf, help="Stop after so long; the next call goes on.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/published"))
def main(
    datasets: tuple[str, ...],
    posteriors: tuple[str, ...],
    epochs: int,
    runs: int,
    samples: int | None,
    minutes: float,
    work: Path,
) -> None:
    """Train and evaluate cells of the table, all by default; write results/published.{md,json}."""
    end = time.monotonic() + 60 * minutes
    plugins = load_plugins()
    missing = [name for name in datasets or DATASETS if not at_hand(name, plugins)]
    failed = False
    with interruptible() as signalled:

        def stop() -> bool:
            return signalled() or time.monotonic() >= end

        for dataset in datasets or DATASETS:
            for posterior in posteriors or POSTERIORS:
                if dataset not in missing and not stop():
                    line = command(dataset, posterior, epochs=epochs, runs=runs, samples=samples)
                    failed |= not train(work / dataset / posterior, line, stop)
        stopped = stop()
    cells = {
        (dataset, posterior): cell
        for dataset, data in DATASETS.items()
        for posterior in POSTERIORS
        if (cell := read(work / dataset / posterior, bits=data.bits)) is not None
    }
    text = f"{report(cells, missing)}\nMachine of the last call: {machine()}.\n"
    named = {" on ".join(reversed(key)): cell for key, cell in cells.items()}
    write_results("published", {"machine": machine(), "cells": named}, text)
    if stopped:
        print("Stopped; the same command goes on there.")
    sys.exit(signalled.code or int(failed))


if __name__ == "__main__":
    main()
