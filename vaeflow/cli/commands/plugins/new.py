"""`vaeflow plugins new`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from vaeflow.plugins.registry import KINDS


@click.command("new", epilog="Example: vaeflow plugins new bend --kind posterior")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), required=True, help="The kind of part that it brings."
)
@click.option(
    "--dest",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The directory to write the package in.  [default: here]",
)
def command(name: str, kind: str, dest: Path) -> None:
    """Write the package vaeflow-NAME, which brings the part NAME of one kind.

    It installs, passes its own tests and trains as it is: replace the part by your own.
    """
    from vaeflow.plugins.scaffold import write

    paths = write(name, kind, dest)
    root = dest / f"vaeflow-{name.removeprefix('vaeflow-')}"
    for path in paths:
        click.echo(path)
    click.echo("\nNext:")
    click.echo(f"  cd {shlex.quote(str(root))}")
    click.echo("  pip install -e '.[dev]'")
    click.echo("  python -m pytest")
    click.echo(f"  vaeflow plugins check {root.name}")
