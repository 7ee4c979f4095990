"""`vaeflow interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("interpolate", epilog="Example: vaeflow interpolate runs/first 3 7 --out walk.png")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("a")
@click.argument("b")
@shared.data
@shared.own_split("all rows of a file, else test")
@click.option(
    "--steps",
    type=click.IntRange(2, 1000),
    default=10,
    show_default=True,
    help="Codes, with those of A and B.",
)
@click.option(
    "--path",
    type=click.Choice(["straight", "spherical"]),
    default="straight",
    show_default=True,
    help="A spherical path keeps to the norms of the two codes.",
)
@shared.drawn_columns
@shared.picture("interpolation.png")
@shared.seed
@shared.trained
@click.pass_obj
def command(
    selection: Selection | None,
    /,
    run: Path,
    a: str,
    b: str,
    data: Path | None,
    out: Path,
    **options: Any,
) -> None:
    """Walk from the code of example A to that of example B, and decode each step.

    A and B are line numbers of the file (its header is line 1); of arrays, numbers from 0 on in the
    split; of pictures in a folder, the names of their files. The codes are means of q(z|x), behind
    all maps of the flow. Pictures stand in a row between those of the data; the columns of a table
    are curves in their own units.
    """
    from vaeflow.cli.output import new_file
    from vaeflow.latents.drawn import ENDINGS
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.walks import interpolate

    with new_file(out, *ENDINGS):
        interpolate(run, a, b, data, plugins=load_plugins(selection), **options).save(out)
