"""`vaeflow encode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.evaluation.options import Weights
    from vaeflow.runs.codes import Choice


@click.command("encode")
@click.argument("run", type=click.Path(path_type=Path))
@shared.data
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    default="all",
    show_default=True,
    help="The part of RUN's own data.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help=".npz, .csv, .tsv, .parquet or .arrow.",
)
@shared.seed
@shared.condition
@shared.weights
@shared.device
@shared.data_root
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    data: Path | None,
    split: Choice,
    out: Path,
    seed: int,
    condition: dict[str, str],
    weights: Weights,
    device: str,
    data_root: Path | None,
) -> None:
    """Write the mean of q(z|x) of each example, its latent code, with its labels beside it.

    A table has the columns split (of RUN's own data), row as the file counts it, or file (of
    images), the labels and ids that are no part of x, and z0, z1, …; an .npz file has the codes as
    one array (N, L) beside them. The examples of a file stay in its order. The mean of a flow has
    no formula: it is the average of a hundred draws, which --seed repeats.
    """
    from vaeflow.cli.output import TABLES, new_file, write_columns
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.codes import EncodingOptions, encode_run
    from vaeflow.runs.directory import Run

    with new_file(out, ".npz", *TABLES):
        options = EncodingOptions(
            split=split,
            seed=seed,
            weights=weights,
            device=device,
            data_root=data_root,
            condition=condition,
        )
        codes = encode_run(Run.open(run), load_plugins(selection), options, data)
        write_columns(out, codes.arrays if out.suffix == ".npz" else codes.columns)
