"""`vaeflow latent`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("latent", epilog="Example: vaeflow latent runs/first --out latent.png")
@click.argument("run", type=click.Path(path_type=Path))
@shared.data
@shared.own_split("all")
@click.option(
    "--label",
    metavar="NAME",
    help="Colours the points: a label, a column, or split.  [default: the first label, rather "
    "none that is a covariate]",
)
@click.option(
    "--manifold",
    is_flag=True,
    help="For two latent dimensions: decode a grid of quantiles of the prior instead.",
)
@shared.drawn_columns
@shared.picture("latent.png")
@shared.seed
@shared.trained
@click.pass_obj
def command(
    selection: Selection | None, /, run: Path, data: Path | None, out: Path, **options: Any
) -> None:
    """Draw the codes of data in a plane, coloured by a label.

    The codes are means of q(z|x), after all maps of the flow: z itself for two latent dimensions,
    otherwise the first two principal components, whose axes tell their share of the variance.
    Texts and few whole numbers have a legend, other numbers a colour bar.
    """
    from vaeflow.cli.output import new_file
    from vaeflow.latents.drawn import ENDINGS
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.latent import latent

    with new_file(out, *ENDINGS):
        latent(run, data, plugins=load_plugins(selection), **options).save(out)
