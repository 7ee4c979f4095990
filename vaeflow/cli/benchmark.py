"""`vaeflow benchmark`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli.parts import PartsCommand, command_line_layer
from vaeflow.registry import KINDS

if TYPE_CHECKING:
    from vaeflow.grid import Grid
    from vaeflow.plugins import Plugins


class GridCommand(PartsCommand):
    """Takes parts several times, and seeds in place of a seed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of a training, changed so."""
        if not hasattr(self, "_several"):
            params = [p for p in super().get_params(ctx) if p.name != "seed"]
            self._several = [_several(p) if p.name in KINDS else p for p in params]
        return self._several


def _several(option: click.Parameter) -> click.Parameter:
    """Return an option that can be given several times."""
    assert isinstance(option, click.Option)
    return click.Option(
        [str(option.name), *option.opts], metavar=option.metavar, help=option.help, multiple=True
    )


def _seeds(ctx: click.Context, param: click.Parameter, text: str) -> list[int]:
    """Read "3" as 0, 1, 2 and "3,5" as those."""
    if not re.fullmatch(r"\d+(,\d+)*,?", text):
        raise click.BadParameter(f"{text!r}: write a number of seeds, or a list such as 3,5,8")
    numbers = [int(word) for word in text.split(",") if word]
    found = numbers if "," in text else [*range(numbers[0])]
    if not found:
        raise click.BadParameter("there must be one seed at least")
    return [*dict.fromkeys(found)]


@click.command("benchmark", cls=GridCommand)
@click.option("--recipe", metavar="NAME|FILE", help="Start from a recipe, or any TOML file.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file, laid over the recipe.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key.")
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
    callback=_seeds,
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
@click.option(
    "--importance-samples",
    "-k",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="K of the NLL; fewer for a quick look.",
)
@click.option("--baseline", metavar="NAME", help="What the others are compared with.")
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
    **params: Any,
) -> int:
    """Train and evaluate a grid of models, and compare them.

    Every part that is given several times, every --vary and the seeds are multiplied out:

    vaeflow benchmark --posterior identity --posterior planar --vary posterior.steps=4,16

    The same command again goes on where it was interrupted. A run that fails is a row of the
    report, and the others go on.
    """
    from vaeflow.cli.compare import report
    from vaeflow.cli.running import counting, interruptible
    from vaeflow.config import read_recipe, read_toml
    from vaeflow.engines import ENGINES
    from vaeflow.finished import figures_of, find, trained
    from vaeflow.grid import FILE, Grid
    from vaeflow.plugins import load_plugins
    from vaeflow.runs import Run

    plugins = load_plugins(ctx.obj)
    base: list[tuple[Mapping[str, Any], str]] = []
    if recipe is not None:
        base.append((read_recipe(recipe), f"recipe {recipe}"))
    if config is not None:
        base.append((read_toml(config), str(config)))
    before = Grid.read(out) if (out / FILE).exists() else None
    if params["threads"] is None and (share := _threads(before, jobs, engine)) is not None:
        params["threads"] = share
    grid = _grid(ctx, params, base, vary, seeds, plugins, importance_samples, jobs)
    _settle(out, before, grid)

    def done(name: str) -> bool:
        run = Run(out / "runs" / name)
        return trained(run) and figures_of(run, "test", importance_samples) is not None

    tasks = [t for t in _tasks(out, grid, plugins) if not done(t.name)]
    total = len(grid.cells)
    ready = total - len(tasks)
    click.echo(f"{total} runs in {out}, {ready} of them done")
    with (
        interruptible() as stop,
        counting(total if tasks else 0, "runs", ready) as progress,
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
    places, notes = find([out])
    report(
        places,
        plugins,
        lambda run: importance_samples,
        baseline=baseline,
        out=out,
        notes=notes,
    )
    if ready < total:
        click.echo(f"{total - ready} of {total} failed; the same command tries again.", err=True)
    return 0 if ready == total else 1


def _threads(before: Grid | None, jobs: int, engine: str) -> int | None:
    """Return each run's share of the cores; a benchmark goes on with what it began with."""
    from vaeflow.engines import cores

    if before is not None:
        found = before.cells[0].config.get("threads")
        return None if found is None else int(found)
    return None if jobs == 1 and engine == "local" else max(1, cores() // jobs)


def _grid(
    ctx: click.Context,
    params: dict[str, Any],
    base: list[tuple[Mapping[str, Any], str]],
    vary: tuple[str, ...],
    seeds: list[int],
    plugins: Plugins,
    samples: int,
    jobs: int,
) -> Grid:
    """Multiply out what the line says."""
    from vaeflow.grid import Grid, make_cells, split_values

    varied = {}
    for item in vary:
        key, equals, values = item.partition("=")
        if not (key.strip() and equals):
            raise click.UsageError(
                f"--vary {item}: write KEY=V1,V2, as in --vary posterior.steps=4,16"
            )
        varied[key.strip().replace("-", "_")] = split_values(values)
    names = {}
    for kind in KINDS:
        given = [*params[kind], *varied.pop(kind, [])]
        params[kind] = given[0] if len(given) == 1 else None
        if len(given) > 1:
            names[kind] = [*dict.fromkeys(given)]
    line = command_line_layer(ctx, {"seed": None, **params})
    cells, remarks = make_cells(base, line, names, varied, seeds, plugins)
    for remark in remarks:
        click.echo(f"Note: {remark}.", err=True)
    return Grid(tuple(cells), samples, jobs)


def _settle(out: Path, before: Grid | None, grid: Grid) -> None:
    """Write the grid into a new directory; one that is there must hold the same.

    Raises:
        ConfigError: if it holds anything else.
    """
    from vaeflow.errors import ConfigError

    if before is None:
        if out.exists() and any(out.iterdir()):
            raise ConfigError(
                f"--out {out}: it exists and is no benchmark's directory; choose another"
            )
        grid.write(out)
    elif (difference := before.difference(grid)) is not None:
        raise ConfigError(
            f"--out {out}: it holds another grid, {difference}; give the same options to continue "
            "it, or another directory"
        )


def _tasks(out: Path, grid: Grid, plugins: Plugins) -> Iterator[Any]:
    """Yield what is to be done for each cell, its configuration written down."""
    import tomli_w

    from vaeflow.engines import Task
    from vaeflow.grid import write_file

    root, chosen = out.absolute(), plugins.selection
    flags = [f"--plugin={file.absolute()}" for file in chosen.files]
    flags += ["--no-plugins"] if chosen.allowed == frozenset() else []
    flags += ["--strict-plugins"] if chosen.strict else []
    for cell in grid.cells:
        config = root / "configs" / f"{cell.name}.toml"
        write_file(config, tomli_w.dumps(cell.config).encode())
        yield Task(
            cell.name,
            run=root / "runs" / cell.name,
            config=config,
            log=root / "logs" / f"{cell.name}.log",
            samples=grid.samples,
            flags=tuple(flags),
            gpu=str(cell.config["device"]).startswith("cuda"),
        )
