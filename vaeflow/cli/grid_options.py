"""A command line that stands for many trainings: parts and values given several times, seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli.completion import part_names
from vaeflow.cli.part_options import PartsCommand, command_line_layer
from vaeflow.cli.voice import say
from vaeflow.config.way import Way
from vaeflow.plugins.registry import KINDS

if TYPE_CHECKING:
    from vaeflow.benchmark.grid import Grid
    from vaeflow.plugins.loading import Plugins


class GridCommand(PartsCommand):
    """Takes parts several times, and seeds in place of a seed."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._several: list[click.Parameter] = []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of a training, changed so."""
        params = [p for p in super().get_params(ctx) if p.name != "seed"]
        if not self._several:
            self._several = [_several(p) for p in params if p.name in KINDS]
        return [*self._several, *(p for p in params if p.name not in KINDS)]


def _several(option: click.Parameter) -> click.Parameter:
    """Return an option that can be given several times."""
    assert isinstance(option, click.Option)
    return click.Option(
        [str(option.name), *option.opts],
        metavar=option.metavar,
        help=option.help,
        multiple=True,
        shell_complete=part_names,
    )


def read_seeds(ctx: click.Context, param: click.Parameter, text: str) -> list[int]:
    """Read "3" as the seeds 0, 1, 2, and "3,5" as the seeds 3 and 5."""
    if not re.fullmatch(r"\d+(,\d+)*,?", text):
        raise click.BadParameter(f"{text!r}: write a number of seeds, or a list such as 3,5,8")
    numbers = [int(word) for word in text.split(",") if word]
    found = numbers if "," in text else [*range(numbers[0])]
    if not found:
        raise click.BadParameter("there must be one seed at least")
    return [*dict.fromkeys(found)]


def read_grid(
    ctx: click.Context,
    params: dict[str, Any],
    base: list[tuple[Mapping[str, Any], str]],
    vary: tuple[str, ...],
    seeds: list[int],
    plugins: Plugins,
    way: Way,
    jobs: int,
) -> Grid:
    """Return the grid of all combinations on the line."""
    from vaeflow.benchmark.grid import Grid, make_cells, split_values

    varied: dict[str, list[str]] = {}
    for item in vary:
        key, equals, values = item.partition("=")
        if not (key.strip() and equals):
            raise click.UsageError(
                f"--vary {item}: write KEY=V1,V2, as in --vary posterior.steps=4,16"
            )
        varied.setdefault(key.strip().replace("-", "_"), []).extend(split_values(values))
    names = {}
    for kind in KINDS:
        given = [*params[kind], *varied.pop(kind, [])]
        params[kind] = given[0] if len(given) == 1 else None
        if len(given) > 1:
            names[kind] = [*dict.fromkeys(given)]
    line = command_line_layer(ctx, {"seed": None, **params})
    cells, remarks = make_cells(base, line, names, varied, seeds, plugins)
    for remark in remarks:
        say(f"Note: {remark}.", err=True)
    return Grid(tuple(cells), way, jobs)
