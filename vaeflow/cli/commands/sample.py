"""`vaeflow sample`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("sample", epilog="Example: vaeflow sample runs/first -n 16 --out samples.png")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=64, show_default=True, help="How many."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .png picture, .npz with the values or, of a table, .csv or .parquet.  [default: "
    "samples.png, or samples.csv of a table]",
)
@shared.seed
@click.option(
    "--draw/--mean",
    default=None,
    help="Draw x ~ p(x|z), as is done for a table by default, or show its mean.",
)
@click.option("--binary", is_flag=True, hidden=True)  # what --draw was called
@shared.condition
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    count: int,
    out: Path | None,
    seed: int,
    draw: bool | None,
    binary: bool,
    condition: dict[str, str],
) -> None:
    """Draw z from the prior of the model in RUN and show the mean of p(x|z), or draws of it.

    Of a table, the samples are rows in its own units, with the names of its columns.
    """
    import torch

    from vaeflow.cli.output import TABLES, new_file, write_rows, write_values
    from vaeflow.data.covariates import given_covariates, values_of
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.directory import Run
    from vaeflow.runs.load import load, span_of_run

    opened = Run.open(run)
    columns, covariates = opened.form.columns, opened.form.covariates
    out = out or Path("samples.csv" if columns else "samples.png")
    mean = not (columns or binary) if draw is None else not draw
    with new_file(out, *(TABLES if columns else (".png",)), ".npz"):
        model = load(opened, plugins=load_plugins(selection))
        torch.manual_seed(seed)
        samples = model.sample(count, mean=mean, condition=condition)
        if columns:
            chosen = given_covariates(covariates, condition).expand(count, -1)
            write_rows(out, columns, values_of(covariates, chosen), samples=samples)
        else:
            write_values(out, span=span_of_run(opened), samples=samples)
