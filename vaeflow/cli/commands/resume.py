"""`vaeflow resume`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("resume", epilog="Example: vaeflow resume runs/first")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--epochs", type=click.IntRange(1), help="Train to this many epochs in all.")
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Go on with another setting, such as lr=0.0001; can be given several times.",
)
@shared.data_root
@shared.as_json
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    epochs: int | None,
    overrides: tuple[str, ...],
    data_root: Path | None,
    as_json: bool,
) -> int:
    """Continue the run directory RUN from its newest checkpoint.

    With the same torch, device and number of threads, the run ends with the same bits as one that
    was never interrupted.
    """
    from vaeflow.cli.part_options import assign
    from vaeflow.cli.progress import report, watch
    from vaeflow.cli.signals import Stop
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.directory import Run
    from vaeflow.runs.experiment import resume

    stop = Stop()
    outcome = resume(
        Run.open(run),
        load_plugins(selection),
        epochs=epochs,
        data_root=data_root,
        changes=assign({}, overrides, "--override lr=0.0001"),
        watch=watch(stop),
    )
    return report(outcome, stop, run, as_json=as_json)
