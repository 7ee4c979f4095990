"""`vaeflow info`."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict

import click

from vaeflow.discovery import Selection
from vaeflow.registry import KINDS


@click.command("info")
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(selection: Selection | None, kind: str, name: str, as_json: bool) -> None:
    """Explain the part NAME of a KIND: what it computes, its options, who brings it."""
    from vaeflow.options import describe
    from vaeflow.plugins import load_plugins

    part = load_plugins(selection).require(kind, name)
    loaded = part.load()
    options = describe(loaded)
    if as_json:
        about = {"kind": kind, "name": part.qualified, "version": part.version}
        click.echo(json.dumps({**about, "options": [asdict(o) for o in options]}, indent=2))
        return
    text = (inspect.getdoc(loaded) or "").split("\nOptions:")[0].rstrip()
    click.echo(f"{kind} {part.name}, from {part.distribution} {part.version}\n\n{text}\n")
    for o in options:
        default = "required" if o.required else f"default {o.default}"
        click.echo(f"  --{kind}.{o.name.replace('_', '-')}  {o.type}, {default}\n      {o.meaning}")
    example = f"vaeflow train --{kind} {part.name}"
    if options and not options[0].required:
        flag = options[0].name.replace("_", "-")
        example += f" --{kind}.{flag} {options[0].default}"
    click.echo(f"\nExample: {example}")
