"""`vaeflow export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import options as shared
from vaeflow.cli.voice import say
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.evaluation.options import Weights


@click.command("export", epilog="Example: vaeflow export runs/first --out encoder.pt2")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--part",
    type=click.Choice(["encoder", "decoder", "sampler"]),
    default="encoder",
    show_default=True,
    help="x and noise → z, log q and the mean of q; z → the mean of p(x|z); noise → the same of a "
    "draw of the prior.",
)
@click.option(
    "--format",
    type=click.Choice(["torch-export", "onnx"]),
    help="Of the file.  [default: by its ending, torch-export without --out]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The new file, .pt2 or .onnx.  [default: RUN-PART in the working directory]",
)
@shared.weights
@shared.data_root
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    part: str,
    format: str | None,
    out: Path | None,
    weights: Weights,
    data_root: Path | None,
) -> None:
    """Write a part of the model in RUN as a program that needs neither vaeflow nor its plugins.

    The program takes any number of examples. Its draws are a function of the input "noise", which
    is standard normal: the same noise gives the same draw. The file holds the run's configuration,
    scaling and names of columns, and no pickle. It is run and compared with the model on test
    examples: a difference above 1e-5 is an error, and no file is left.
    """
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.export import export

    written = export(
        run,
        out,
        plugins=load_plugins(selection),
        part=part,
        format=format,
        weights=weights,
        data_root=data_root,
    )
    click.echo(str(written))
    say(f"wrote {written.path}")
