"""`vaeflow list`."""

from __future__ import annotations

import click

from vaeflow.cli.formulas import plain
from vaeflow.cli.width import wrapped
from vaeflow.plugins.discovery import Selection
from vaeflow.plugins.registry import KINDS, Part


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]", type=click.Choice(KINDS))
@click.pass_obj
def command(selection: Selection | None, kind: str | None) -> None:
    """List the parts of every KIND, or of one: their names, their packages, what they are."""
    from vaeflow.config.files import recipes
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(selection)
    registry = plugins.registry
    named = {
        one: [(registry.spelling(part), part) for part in registry.parts(one)]
        for one in ([kind] if kind else KINDS)
    }
    width = max((len(name) for rows in named.values() for name, _ in rows), default=0)
    for one, rows in named.items():
        click.echo(f"{one}:")
        for name, part in rows:
            click.echo(f"  {name:<{width}}  {_from(part)}")
            if sentence := _sentence(part):
                click.echo(wrapped(sentence, 6))
    if kind is None:
        click.echo("recipe:")
        for recipe in recipes():
            click.echo(f"  {recipe}")


def _from(part: Part) -> str:
    """Return the package that brings a part, and whether the part is the default."""
    from vaeflow.config.settings import Config

    default = part.name == Config.model_fields[part.kind].default.name
    chosen = ", default" if default and part.distribution == "vaeflow" else ""
    return f"{part.distribution} {part.version}{chosen}"


def _sentence(part: Part) -> str:
    """Return the first sentence of a part's docstring; it is imported if its source has none."""
    from vaeflow.errors import PluginError
    from vaeflow.options import first_sentence
    from vaeflow.plugins.docstrings import docstring

    try:
        text = docstring(part.target) or part.load().__doc__ or ""
    except PluginError as error:
        return str(error)
    return plain(first_sentence(text))
