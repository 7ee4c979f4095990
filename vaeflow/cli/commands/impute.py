"""`vaeflow impute`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.cli.voice import say
from vaeflow.plugins.discovery import Selection


@click.command("impute", epilog="Example: vaeflow impute runs/people --out filled.csv")
@click.argument("run", type=click.Path(path_type=Path))
@shared.data
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Of a table .csv, .tsv, .parquet or .arrow, else .npz.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="K",
    help="Draws of q(z|x) for each example.",
)
@shared.seed
@shared.trained
@click.pass_obj
def command(
    selection: Selection | None, /, run: Path, data: Path | None, out: Path, **options: Any
) -> None:
    """Fill in missing values by their mean given what was observed, under the model in RUN.

    The mean is taken by self-normalized importance sampling with q(z|x) as the proposal (Mattei &
    Frellsen 2019), and rounded for a count. Of a category, the most probable level is filled in.
    All other values, and the columns that RUN does not know, stay as they are.

    Beside people.csv, people.spread.csv holds the ids of the rows, or their numbers. It tells of
    each filled value how certain it is: age_sd, its standard deviation, visits_mean, the mean of a
    count, or site_probability, the probability of the level; and of each row the effective sample
    size and Pareto-k̂ of its weights. An .npz file holds x and spread side by side.
    """
    from vaeflow.errors import printable
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.directory import Run
    from vaeflow.runs.filled import places
    from vaeflow.runs.imputation import impute

    opened = Run.open(run)
    places(out, table=bool(opened.form.columns), named="--out ")  # before the work
    found = impute(opened, data, plugins=load_plugins(selection), **options)
    click.echo(printable(str(found)))
    say(f"wrote {' and '.join(map(str, found.save(out, named='--out ')))}")
