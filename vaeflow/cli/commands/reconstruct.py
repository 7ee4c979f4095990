"""`vaeflow reconstruct`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("reconstruct", epilog="Example: vaeflow reconstruct runs/first -n 8 --out pairs.png")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-n", "count", type=click.IntRange(1), default=32, show_default=True, help="How many."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .png picture of pairs, .npz with the values or, of a table, .csv or .parquet.  "
    "[default: reconstructions.png, or reconstructions.csv of a table]",
)
@shared.seed
@shared.data_root
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    count: int,
    out: Path | None,
    seed: int,
    data_root: Path | None,
) -> None:
    """Draw z from q(z|x) for test data, through the whole flow, and show x beside E[x|z].

    Of a table, E[x|z] of the column age is age_reconstructed, in the same units; of a category, it
    is the most probable level.
    """
    import torch

    from vaeflow.cli.output import TABLES, new_file, write_rows, write_values
    from vaeflow.data.covariates import values_of
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.build import images_of
    from vaeflow.runs.directory import Run
    from vaeflow.runs.load import load, span_of_run

    opened = Run.open(run)
    columns, covariates = opened.form.columns, opened.form.covariates
    out = out or Path("reconstructions.csv" if columns else "reconstructions.png")
    with new_file(out, *(TABLES if columns else (".png",)), ".npz"):
        plugins = load_plugins(selection)
        plan = opened.plan(plugins)
        if data_root is not None:
            plan = plan.but(data_root=data_root.absolute())
        model = load(opened, plugins=plugins)
        data = images_of(opened.data(plan), "test", plan.config)[:count].read()
        torch.manual_seed(seed)
        if columns:
            beside = {} if data.condition is None else values_of(covariates, data.condition)
            found = model.reconstruct(data)
            write_rows(out, columns, beside, data=data.values, reconstructed=found)
        else:
            reconstructions = model.reconstruct(data)
            write_values(
                out, span=span_of_run(opened), images=data.values, reconstructions=reconstructions
            )
