"""`vaeflow reconstruct`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("reconstruct")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-n", "count", type=click.IntRange(1), default=32, show_default=True, help="How many."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="reconstructions.png",
    show_default=True,
    help="A .png picture of pairs, or .npz with the values.",
)
@shared.seed
@shared.data_root
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    count: int,
    out: Path,
    seed: int,
    data_root: Path | None,
) -> None:
    """Draw z from q(z|x) for test data, through the whole flow, and show x beside E[x|z]."""
    import torch

    from vaeflow.cli.output import new_file, write_values
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.build import images_of
    from vaeflow.runs.directory import Run
    from vaeflow.runs.load import load

    with new_file(out):
        plugins = load_plugins(selection)
        opened = Run.open(run)
        plan = opened.plan(plugins)
        if data_root is not None:
            plan = plan.but(data_root=data_root.absolute())
        model = load(run, plugins=plugins)
        x = images_of(opened.data(plan), "test", plan.config)[:count].read()
        torch.manual_seed(seed)
        write_values(out, images=x.values, reconstructions=model.reconstruct(x))
