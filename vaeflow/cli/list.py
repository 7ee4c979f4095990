"""`vaeflow list`."""

from __future__ import annotations

import click

from vaeflow.registry import KINDS


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]", type=click.Choice(KINDS))
def command(kind: str | None) -> None:
    """List the parts of every KIND, or of one: their names and who brings them."""
    from vaeflow.config import Config, recipes
    from vaeflow.plugins import load_plugins

    plugins = load_plugins()
    for one in [kind] if kind else KINDS:
        click.echo(f"{one}:")
        default = Config.model_fields[one].default.name
        for part in plugins.registry.parts(one):
            notes = [f"{part.distribution} {part.version}"]
            if part.name == default and part.distribution == "vaeflow":
                notes.append("default")
            click.echo(f"  {part.name:<16} {', '.join(notes)}")
    if kind is None:
        click.echo("recipe:")
        for recipe in recipes():
            click.echo(f"  {recipe}")
    for plugin in plugins.found:
        if plugin.error:
            click.echo(
                f"Warning: plugin {plugin.distribution} failed to load ({plugin.error})", err=True
            )
