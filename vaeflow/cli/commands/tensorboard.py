"""`vaeflow tensorboard`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("tensorboard", epilog="Example: vaeflow tensorboard runs/first runs/second")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=6006,
    show_default=True,
    help="Where it listens, if the port is free; else at another one.",
)
def command(runs: tuple[Path, ...], port: int) -> None:
    """Show RUNS in TensorBoard, each by the name of its directory, until Ctrl-C.

    RUNS are run directories, directories of `vaeflow benchmark`, or folders that hold runs, by
    default the folder "runs". TensorBoard listens on the loopback address alone, so that no other
    machine can reach it.
    """
    from vaeflow.cli.signals import Interrupted, stopped_at_once
    from vaeflow.comparison.board import tensorboard

    try:
        with stopped_at_once(), tensorboard(*runs, port=port) as board:
            taken = f" (port {port} is taken)" if port not in (0, board.port) else ""
            click.echo(f"TensorBoard at {board.url}{taken}; Ctrl-C ends it")
            board.wait()
    except Interrupted as signal:
        if signal.code != 130:  # Ctrl-C is how it is meant to end
            raise
