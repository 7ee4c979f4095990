"""`vaeflow curves`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("curves", epilog="Example: vaeflow curves runs/first runs/second --out curves.png")
@click.argument(
    "runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN|BENCHMARK..."
)
@shared.picture("curves.png")
@click.pass_obj
def command(selection: Selection | None, /, runs: tuple[Path, ...], out: Path) -> None:
    """Draw the learning curves of runs as one picture: the ELBO by epoch, in nats per example.

    Validation is solid, training dashed, and the epoch of the best weights marked. Runs are called
    by what tells them apart, as `vaeflow compare` calls them, or by their directories, where they
    differ in more than two settings.
    """
    from vaeflow.cli.output import new_file
    from vaeflow.comparison.curves import curves
    from vaeflow.latents.drawn import ENDINGS

    with new_file(out, *ENDINGS):
        curves(*runs).save(out)
