"""`vaeflow traverse`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


def _numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> list[int] | None:
    """Return 0,3 as numbers."""
    try:
        return None if text is None else [int(word) for word in text.split(",")]
    except ValueError:
        raise click.UsageError(
            f"--dimensions {text}: write numbers with commas between them, as in --dimensions 0,3"
        ) from None


@click.command(
    "traverse", epilog="Example: vaeflow traverse runs/first --example 3 --out traversal.png"
)
@click.argument("run", type=click.Path(path_type=Path))
@shared.data
@shared.own_split("all rows of a file, else test")
@click.option(
    "--example", metavar="ROW", help="From whose code all walks begin.  [default: the first]"
)
@click.option(
    "--dimensions",
    metavar="I,J,…",
    callback=_numbers,
    help="Of z, in this order.  [default: the active ones, the most active first, ten at most]",
)
@click.option(
    "--steps",
    type=click.IntRange(2, 1000),
    default=9,
    show_default=True,
    help="Of each walk.",
)
@shared.drawn_columns
@shared.picture("traversal.png")
@shared.seed
@shared.trained
@click.pass_obj
def command(
    selection: Selection | None, /, run: Path, data: Path | None, out: Path, **options: Any
) -> None:
    """Change one dimension of z at a time, and decode each step.

    All walks begin at the code of one example, the mean of q(z|x) after all maps of the flow. The
    steps are quantiles of the codes of the data, from 2 % to 98 %. Beside each dimension stands the
    variance of E[z|x] over the data, which is near 0 where the dimension tells nothing of x.
    """
    from vaeflow.cli.output import new_file
    from vaeflow.latents.drawn import ENDINGS
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.walks import traverse

    with new_file(out, *ENDINGS):
        traverse(run, data, plugins=load_plugins(selection), **options).save(out)
