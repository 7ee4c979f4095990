"""`vaeflow list`."""

from __future__ import annotations

import json

import click

from vaeflow.cli import options as shared
from vaeflow.cli.formulas import plain
from vaeflow.cli.width import wrapped
from vaeflow.plugins.discovery import Selection
from vaeflow.plugins.registry import KINDS, Part


@click.command("list", epilog="Example: vaeflow list posterior")
@click.argument("kind", required=False, metavar="[KIND]", type=click.Choice(KINDS))
@shared.as_json
@click.pass_obj
def command(selection: Selection | None, kind: str | None, as_json: bool) -> None:
    """List the parts of every KIND, or of one: their names, their packages, what they are."""
    from vaeflow.config.files import recipes
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(selection)
    registry = plugins.registry
    named = {
        one: [(registry.spelling(part), part) for part in registry.parts(one)]
        for one in ([kind] if kind else KINDS)
    }
    if as_json:
        about = [_as_dict(name, part) for found in named.values() for name, part in found]
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
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


def _as_dict(name: str, part: Part) -> dict[str, object]:
    """Return what a script wants of a part: its name as the line takes it, above all."""
    return {
        "kind": part.kind,
        "name": name,
        "distribution": part.distribution,
        "version": part.version,
        "default": _is_default(part),
        "summary": _sentence(part),
    }


def _is_default(part: Part) -> bool:
    from vaeflow.config.settings import Config

    default = part.name == Config.model_fields[part.kind].default.name
    return default and part.distribution == "vaeflow"


def _from(part: Part) -> str:
    """Return the package that brings a part, and whether the part is the default."""
    chosen = ", default" if _is_default(part) else ""
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
