"""`vaeflow encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("encode", epilog="Example: vaeflow encode runs/first --draws 10 --out codes.csv")
@click.argument("run", type=click.Path(path_type=Path))
@shared.data
@shared.own_split("all")
@click.option(
    "--draws",
    type=click.IntRange(0),
    default=0,
    metavar="D",
    help="Draws of q(z|x) for each example, with log q.  [default: the mean]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help=".npz, .csv, .tsv, .parquet or .arrow.",
)
@shared.seed
@shared.trained
@click.pass_obj
def command(
    selection: Selection | None, /, run: Path, data: Path | None, out: Path, **options: Any
) -> None:
    """Write the latent code of each example, the mean of q(z|x), with its labels beside it.

    A table has the columns split (of RUN's own data), row as the file counts it, or file (of
    images), the labels and ids that are no part of x, and z0, z1, …; an .npz file has the codes as
    one array (N, L) beside them. A label of a name that is taken ends in _label. The examples of a
    file stay in its order. The mean of a flow has
    no formula: it is the average of a hundred draws, which --seed repeats.

    With --draws each draw is a line of the table, with its number and log_q, log q(z|x) in nats.
    An .npz file has codes (N, D, L) and log_q (N, D). Under torchrun each rank encodes a share of
    the data, and the file is the same as that of one process.
    """
    from vaeflow.cli.output import TABLES, new_file, write_columns
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.codes import encode
    from vaeflow.runtime.ranks import is_first

    with new_file(out, ".npz", *TABLES):
        codes = encode(run, data, plugins=load_plugins(selection), **options)
        if is_first():
            arrays = out.suffix.lower() == ".npz"
            write_columns(out, codes.arrays if arrays else codes.columns)
