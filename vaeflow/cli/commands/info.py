"""`vaeflow info`."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli.completion import part_names
from vaeflow.cli.formulas import plain
from vaeflow.cli.width import wrapped
from vaeflow.plugins.discovery import Selection
from vaeflow.plugins.registry import KINDS

if TYPE_CHECKING:
    from vaeflow.options import Option


@click.command("info")
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.argument("name", shell_complete=part_names)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(selection: Selection | None, kind: str, name: str, as_json: bool) -> None:
    """Explain the part NAME of a KIND: its formula, its options, its package."""
    from vaeflow.options import describe
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(selection)
    part = plugins.require(kind, name)
    loaded: Any = part.load()
    options = describe(loaded)
    if as_json:
        about = {"kind": kind, "name": part.qualified, "version": part.version}
        click.echo(json.dumps({**about, "options": [asdict(o) for o in options]}, indent=2))
        return
    text = (inspect.getdoc(loaded) or "").split("\nOptions:")[0].rstrip()
    click.echo(f"{kind} {part.name}, from {part.distribution} {part.version}\n\n{plain(text)}")
    if options:
        click.echo()
    for o in options:
        default = "required" if o.required else f"default {o.default}"
        click.echo(wrapped(f"{_flag(kind, o)}  {o.type}, {default}", 2, 6))
        click.echo(wrapped(plain(o.meaning), 6))
    if loaded.example is not None:
        chosen = f"--{kind} {plugins.registry.spelling(part)}"
        words = ["vaeflow train", chosen, *_shown(kind, options), loaded.example]
        click.echo(f"\nExample: {' '.join(filter(None, words))}")


def _shown(kind: str, options: list[Option]) -> list[str]:
    """Return the required options; where there are none, one option shows how it is done."""
    shown = [o for o in options if o.required] or options[:1]
    return [f"{_flag(kind, o)} {o.default or o.name.upper()}" for o in shown]


def _flag(kind: str, option: Option) -> str:
    return f"--{kind}.{option.name.replace('_', '-')}"
