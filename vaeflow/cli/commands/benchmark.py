"""`vaeflow benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli import options as shared
from vaeflow.cli.grid_options import GridCommand, read_grid, read_seeds
from vaeflow.cli.part_options import read_base
from vaeflow.cli.voice import say
from vaeflow.plugins.registry import BUILTIN

if TYPE_CHECKING:
    from vaeflow.benchmark.engines import Task
    from vaeflow.cli.signals import Stop
    from vaeflow.config.way import ProposalKind
    from vaeflow.plugins.registry import Part


@click.command(
    "benchmark",
    cls=GridCommand,
    epilog="Example: vaeflow benchmark --posterior planar --posterior iaf --seeds 2",
)
@shared.recipe
@shared.config
@shared.assignments
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=V1,V2",
    help="Values of a setting or option that are all tried, as in posterior.steps=4,16; a list as "
    "a value is written in brackets.",
)
@click.option(
    "--seeds",
    default="3",
    show_default=True,
    callback=read_seeds,
    metavar="N|LIST",
    help="How many seeds, from 0, or which.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/benchmark"),
    show_default=True,
    help="The benchmark's directory.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Runs at a time; each gets its share of the cores.",
)
@shared.engine
@shared.proposal("Of the NLL; q alone is what papers print.")
@shared.importance_samples("Draws of q for the bounds under q.")
@shared.limit
@shared.baseline
@shared.anyway
@shared.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    recipe: str | None,
    config: Path | None,
    vary: tuple[str, ...],
    seeds: list[int],
    out: Path,
    jobs: int,
    engine: str,
    proposal: ProposalKind,
    importance_samples: int,
    limit: int | None,
    baseline: str | None,
    anyway: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Train and evaluate a grid of models, and compare them.

    Every part that is given several times, every --vary and the seeds are multiplied out:

    \b
      vaeflow benchmark --posterior identity --posterior planar --vary posterior.steps=4,16

    The same command again goes on where it was interrupted, and the same command with more seeds
    or parts adds the missing runs. A run that fails is a row of the report, and the others go on.
    """
    from vaeflow.benchmark.directory import Benchmark, check_comparable
    from vaeflow.cli.comparison import print_comparison
    from vaeflow.cli.signals import Stop
    from vaeflow.comparison.directories import CompareOptions, compare_runs
    from vaeflow.comparison.finished import is_evaluated
    from vaeflow.config.way import Way
    from vaeflow.plugins.loading import load_plugins

    way = Way(proposal, importance_samples, limit)
    plugins = load_plugins(ctx.obj)
    benchmark = Benchmark(out)
    spreads = plugins.require("engine", engine)
    spreads.load()  # a fault is told before anything is written
    engine = spreads.qualified.removeprefix(f"{BUILTIN}/")
    params["threads"] = params["threads"] or benchmark.threads(jobs, engine)
    base = read_base(recipe, config)
    grid = read_grid(ctx, params, base, vary, seeds, plugins, way, jobs)
    check_comparable(grid, baseline, anyway=anyway)
    tasks = benchmark.begin(grid, plugins, lambda run: is_evaluated(run, way))
    stop, total = Stop(), len(grid.cells)
    failed = _run(tasks, total, spreads, jobs, stop, out)
    if stop.code:
        return stop.code
    options = CompareOptions(
        proposal=proposal,
        samples=importance_samples,
        limit=limit,
        evaluate=False,
        baseline=baseline,
        anyway=anyway,
        lenient=True,  # after all the work a report without differences is better than none
        out=out,
    )
    print_comparison(compare_runs([out], plugins, options), as_json=as_json)
    if failed:
        click.echo(f"{failed} of {total} failed; the same command tries again.", err=True)
    return 1 if failed else 0


def _run(tasks: Sequence[Task], total: int, engine: Part, jobs: int, stop: Stop, out: Path) -> int:
    """Do the tasks of a benchmark, a line each; return the number of failures."""
    from vaeflow.benchmark.engines import spread
    from vaeflow.cli.signals import interruptible
    from vaeflow.runtime.progress import terminal_bar

    ready = total - len(tasks)
    say(f"{total} runs in {out}, {ready} of them done; their output is in {out / 'logs'}")
    with (
        interruptible(stop),
        terminal_bar(total if tasks else 0, "runs", ready) as progress,
    ):
        for outcome in spread(engine, tasks, jobs, stop):
            if outcome.interrupted:
                continue
            word = "failed: " + outcome.error if outcome.error else "done"
            say(f"{outcome.name} {word} ({outcome.seconds:.0f} s)")
            progress(1)
            ready += not outcome.error
    if stop.code:
        click.echo(
            f"Interrupted with {ready} of {total} runs done; the same command goes on there.",
            err=True,
        )
    return total - ready
