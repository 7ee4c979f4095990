"""`vaeflow plugins`."""

from __future__ import annotations

import click


@click.command("plugins")
def command() -> None:
    """List the installed plugins. Their code is not imported."""
    from vaeflow.plugins import installed

    found = installed()
    if not found:
        click.echo("No plugins are installed; pip install one, and its parts appear by name.")
    for plugin, _ in found:
        click.echo(f"{plugin.distribution} {plugin.version}: {plugin.module}")
