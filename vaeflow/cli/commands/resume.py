"""`vaeflow resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("resume")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--epochs", type=click.IntRange(1), help="Train to this many epochs in all.")
@shared.data_root
@click.pass_obj
def command(
    selection: Selection | None, run: Path, epochs: int | None, data_root: Path | None
) -> int:
    """Continue the run directory RUN from its newest checkpoint.

    With the same torch, device and number of threads, the run ends with the same bits as one that
    was never interrupted.
    """
    from vaeflow.cli.progress import finish, observers
    from vaeflow.cli.signals import interruptible
    from vaeflow.errors import ConfigError
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.directory import Run
    from vaeflow.runs.experiment import prepare, resume
    from vaeflow.runtime.ranks import launched

    plugins = load_plugins(selection)
    opened = Run.open(run)
    config = opened.config(plugins)
    update: dict[str, Any] = {}
    if data_root is not None:
        update["data_root"] = data_root.absolute()
    if epochs is not None and epochs != config.epochs:
        if config.schedule == "cosine":
            raise ConfigError(
                f"--epochs {epochs}: the cosine schedule of {run} was laid out for "
                f"{config.epochs} epochs; train a new run instead"
            )
        update["epochs"] = epochs
    config = config.model_copy(update=update)
    status = opened.status()
    done = status.get("epoch") or 0
    enough = epochs is None or done >= epochs  # early stopping may have ended it before its time
    complete = status.get("state") == "completed" and enough and opened.summary()
    if complete and opened.store.latest() is not None:
        click.echo(f"{run} is complete after {done} epochs: nothing to do.")
        return 0
    with launched() as world:
        experiment = prepare(config, plugins)
        with interruptible(once=world.count == 1) as stop:
            result = resume(opened, experiment, lambda r: observers(r, experiment), stop)
    return finish(opened, experiment, result, stop.code) if world.first else 0
