"""`vaeflow benchmark`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli import options as shared
from vaeflow.cli.grid_options import GridCommand, read_grid, read_seeds, share_of_cores

if TYPE_CHECKING:
    from vaeflow.benchmark.grid import Cell, Grid
    from vaeflow.plugins.loading import Plugins


@click.command("benchmark", cls=GridCommand)
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
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or a Ray cluster.",
)
@shared.importance_samples("Of the NLL; fewer for a quick look.")
@shared.baseline
@shared.anyway
@click.pass_context
def command(
    ctx: click.Context,
    recipe: str | None,
    config: Path | None,
    vary: tuple[str, ...],
    seeds: list[int],
    out: Path,
    jobs: int,
    engine: str,
    importance_samples: int,
    baseline: str | None,
    anyway: bool,
    **params: Any,
) -> int:
    """Train and evaluate a grid of models, and compare them.

    Every part that is given several times, every --vary and the seeds are multiplied out:

    \b
      vaeflow benchmark --posterior identity --posterior planar --vary posterior.steps=4,16

    The same command again goes on where it was interrupted, and the same command with more seeds
    or parts adds the missing runs. A run that fails is a row of the report, and the others go on.
    """
    from vaeflow.benchmark.engines import ENGINES
    from vaeflow.benchmark.grid import FILE, Grid
    from vaeflow.cli.comparison import print_comparison
    from vaeflow.cli.signals import interruptible
    from vaeflow.comparison.compare_runs import CompareOptions, compare_runs
    from vaeflow.comparison.finished import kept_evaluation, trained
    from vaeflow.config.files import read_recipe, read_toml
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.directory import Run
    from vaeflow.runtime.progress import terminal_bar

    plugins = load_plugins(ctx.obj)
    base: list[tuple[Mapping[str, Any], str]] = []
    if recipe is not None:
        base.append((read_recipe(recipe), f"recipe {recipe}"))
    if config is not None:
        base.append((read_toml(config), str(config)))
    before = Grid.read(out) if (out / FILE).exists() else None
    if params["threads"] is None and (share := share_of_cores(before, jobs, engine)) is not None:
        params["threads"] = share
    grid = read_grid(ctx, params, base, vary, seeds, plugins, importance_samples, jobs)
    _check_report(grid, baseline, anyway=anyway)
    # Looked at again: another benchmark may have widened it meanwhile.
    before = Grid.read(out) if (out / FILE).exists() else None
    _check_place(out, before, grid)

    def done(name: str) -> bool:
        run = Run(out / "runs" / name)
        return trained(run) and kept_evaluation(run, "test", importance_samples) is not None

    left = [cell for cell in grid.cells if not done(cell.name)]
    shared_by = max(jobs if left else 1, 1 if before is None else before.jobs)
    replace(grid, jobs=shared_by).write(out)
    tasks = [*_tasks(out, left, grid.samples, plugins)]
    total, ready = len(grid.cells), len(grid.cells) - len(left)
    click.echo(f"{total} runs in {out}, {ready} of them done; what each says is in {out / 'logs'}")
    with (
        interruptible() as stop,
        terminal_bar(total if tasks else 0, "runs", ready) as progress,
    ):
        for outcome in ENGINES[engine](tasks, jobs, stop):
            if outcome.interrupted:
                continue
            word = "failed: " + outcome.error if outcome.error else "done"
            click.echo(f"{outcome.name} {word} ({outcome.seconds:.0f} s)")
            progress(1)
            ready += not outcome.error
    if stop.code:
        click.echo(
            f"Interrupted with {ready} of {total} runs done; the same command goes on there.",
            err=True,
        )
        return stop.code
    options = CompareOptions(
        samples=importance_samples,
        evaluate=False,
        baseline=baseline,
        anyway=anyway,
        lenient=True,  # after all the work a report without differences is better than none
        out=out,
    )
    print_comparison(compare_runs([out], plugins, options))
    if ready < total:
        click.echo(f"{total - ready} of {total} failed; the same command tries again.", err=True)
    return 0 if ready == total else 1


def _check_report(grid: Grid, baseline: str | None, *, anyway: bool) -> None:
    """Refuse before the work what would be refused after it.

    Raises:
        ConfigError: if no run has the baseline's posterior, or if runs differ in their data.
    """
    from vaeflow.comparison.labels import short
    from vaeflow.config.flat import flatten
    from vaeflow.errors import ConfigError, did_you_mean

    flats = [flatten(cell.config) for cell in grid.cells]
    names = dict.fromkeys(short(flat["posterior.name"]) for flat in flats)
    if baseline is not None and (asked := short(baseline.partition(" (")[0])) not in names:
        raise ConfigError(
            f"--baseline {baseline}: no run has such a posterior{did_you_mean(asked, names)}; "
            f"there are {', '.join(names)}"
        )
    of_data = [k for k in flats[0] if k.startswith("dataset.")] + ["binarization", "dequantize"]
    for key in of_data:
        if not anyway and len({str(flat.get(key)) for flat in flats}) > 1:
            raise ConfigError(
                f"runs that differ in {key} cannot be compared: vary something else, or give "
                "--anyway"
            )


def _check_place(out: Path, before: Grid | None, grid: Grid) -> None:
    """Refuse a directory that is no benchmark's, or holds what the grid has not.

    Raises:
        ConfigError: if it does.
    """
    from vaeflow.benchmark.grid import FILE
    from vaeflow.errors import ConfigError

    if before is None:
        taken = out.exists() and (
            not out.is_dir() or {p.name for p in out.iterdir()} - {f".{FILE}.tmp"}
        )
        if taken:
            raise ConfigError(
                f"--out {out}: it exists and is no benchmark's directory; choose another"
            )
    elif (difference := before.difference(grid)) is not None:
        raise ConfigError(
            f"--out {out}: it holds another grid, {difference}; give the same options, or more of "
            "them, to continue it, or another directory"
        )


def _tasks(out: Path, cells: Iterable[Cell], samples: int, plugins: Plugins) -> Iterator[Any]:
    """Yield what is to be done for each cell, its configuration written down."""
    import tomli_w

    from vaeflow.benchmark.engines import Task
    from vaeflow.storage import write_file

    root, chosen = out.absolute(), plugins.selection
    flags = [f"--plugin={file.absolute()}" for file in chosen.files]
    flags += ["--no-plugins"] if chosen.allowed == frozenset() else []
    flags += ["--strict-plugins"] if chosen.strict else []
    for cell in cells:
        config = root / "configs" / f"{cell.name}.toml"
        write_file(config, tomli_w.dumps(cell.config))
        yield Task(
            cell.name,
            run=root / "runs" / cell.name,
            config=config,
            log=root / "logs" / f"{cell.name}.log",
            samples=samples,
            flags=tuple(flags),
            gpu=str(cell.config["device"]).startswith("cuda"),
        )
