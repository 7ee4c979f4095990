"""`vaeflow sample`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("sample")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=64, show_default=True, help="How many."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="samples.png",
    show_default=True,
    help="A .png picture, or .npz with the values.",
)
@shared.seed
@click.option("--binary", is_flag=True, help="Draw x ~ p(x|z) instead of showing its mean.")
@click.pass_obj
def command(
    selection: Selection | None, run: Path, count: int, out: Path, seed: int, binary: bool
) -> None:
    """Draw z from the prior of the model in RUN and show the mean of p(x|z)."""
    import torch

    from vaeflow.cli.output import new_file, write_values
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.load import load

    model = load(run, plugins=load_plugins(selection))
    with new_file(out):
        torch.manual_seed(seed)
        write_values(out, samples=model.sample(count, mean=not binary))
