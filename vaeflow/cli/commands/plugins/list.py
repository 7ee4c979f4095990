"""`vaeflow plugins list`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from vaeflow.plugins.discovery import Plugin, Selection, find_plugins


@click.command("list", epilog="Example: vaeflow plugins list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--requirements", is_flag=True, help="Print them with their versions, as pip install -r reads."
)
@click.pass_obj
def command(selection: Selection | None, as_json: bool, requirements: bool) -> None:
    """List the installed plugins. Their code is not imported, so that none can do harm here.

    The state is "installed", "disabled" by the environment or the command line, or "incompatible"
    with this vaeflow.

    Example: vaeflow plugins --requirements > requirements.txt
    """
    found = find_plugins(selection)
    if requirements:
        _print_requirements(found, as_json=as_json)
        return
    if as_json:
        keys = ("distribution", "version", "name", "target", "state", "reason")
        click.echo(json.dumps([{key: getattr(p, key) for key in keys} for p in found], indent=2))
        return
    if not found:
        click.echo("No plugins are installed; pip install one, and its parts appear by name.")
    for p in found:
        why = f" ({p.reason})" if p.reason else ""
        click.echo(f"{p.distribution} {p.version}: {p.target}, {p.state}{why}")
    if found:
        click.echo("\n`vaeflow plugins info NAME` loads one and shows its parts and hooks.")


def _print_requirements(found: list[Plugin], *, as_json: bool) -> None:
    from vaeflow.plugins.requirements import pinned

    all_pinned = list(pinned(found))
    if as_json:
        rows = [{"requirement": one.requirement, **asdict(one)} for one in all_pinned]
        click.echo(json.dumps(rows, indent=2))
        return
    for line in (line for one in all_pinned for line in one.lines):
        click.echo(line)
