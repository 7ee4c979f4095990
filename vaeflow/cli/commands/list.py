"""`vaeflow list`."""

from __future__ import annotations

import click

from vaeflow.plugins.discovery import Selection
from vaeflow.plugins.registry import KINDS


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]", type=click.Choice(KINDS))
@click.pass_obj
def command(selection: Selection | None, kind: str | None) -> None:
    """List the parts of every KIND, or of one: their names and their packages."""
    from vaeflow.config.files import recipes
    from vaeflow.config.settings import Config
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(selection)
    for one in [kind] if kind else KINDS:
        click.echo(f"{one}:")
        default = Config.model_fields[one].default.name
        for part in plugins.registry.parts(one):
            notes = [f"{part.distribution} {part.version}"]
            if part.name == default and part.distribution == "vaeflow":
                notes.append("default")
            click.echo(f"  {plugins.registry.spelling(part):<16} {', '.join(notes)}")
    if kind is None:
        click.echo("recipe:")
        for recipe in recipes():
            click.echo(f"  {recipe}")
