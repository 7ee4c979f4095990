"""`vaeflow plugins info`."""

from __future__ import annotations

import json
import traceback
from typing import Any

import click

from vaeflow.plugins.discovery import Plugin, Selection


@click.command("info", epilog="Example: vaeflow plugins info vaeflow-zuko")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(selection: Selection | None, name: str, as_json: bool) -> None:
    """Explain the plugin NAME, a distribution or an entry point: its parts, hooks and state.

    The plugin and its parts are imported. A failure is shown with its traceback.
    """
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(selection, quiet=True)
    abouts = [_about(plugin, plugins.registry.spelling) for plugin in plugins.named(name)]
    if as_json:
        click.echo(json.dumps(abouts, indent=2))
        return
    for about in abouts:
        _print(about)


def _print(about: dict[str, Any]) -> None:
    click.echo(f"{about['distribution']} {about['version']}: {about['summary'] or 'no summary'}")
    why = f" ({about['reason']})" if about["reason"] else ""
    for label, value in (
        ("state", f"{about['state']}{why}"),
        ("entry point", f"{about['entry_point']} = {about['target']}"),
        ("requires", ", ".join(about["requires"]) or "nothing"),
        ("hooks", ", ".join(about["hooks"]) or "none"),
    ):
        click.echo(f"  {label:<12} {value}")
    for part in about["parts"]:
        click.echo(f"  {part['kind']:<12} {part['name']}: {part['summary'] or part['error']}")
    for trace in filter(None, [about["traceback"], *(p["traceback"] for p in about["parts"])]):
        click.echo(f"\n{trace.rstrip()}")


def _about(plugin: Plugin, spelling: Any) -> dict[str, Any]:
    """Return the description of a plugin, for people and for programs."""
    dist = plugin.point.dist if plugin.point else None
    parts = []
    for part in plugin.parts:
        told = {"kind": part.kind, "name": spelling(part), "target": str(part.target)}
        parts.append({**told, **_loaded(part)})
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "summary": dist.metadata["Summary"] or "" if dist else "",
        "requires": [r for r in (dist.requires or ()) if "extra ==" not in r] if dist else [],
        "entry_point": plugin.name,
        "target": plugin.target,
        "state": plugin.state,
        "reason": plugin.reason,
        "traceback": plugin.traceback,
        "hooks": plugin.hooks,
        "parts": parts,
    }


def _loaded(part: Any) -> dict[str, str]:
    """Import a part, as its use would, and return its summary or its error."""
    from vaeflow.cli.formulas import plain
    from vaeflow.errors import PluginError
    from vaeflow.options import summary

    try:
        told = summary(part.load())
        return {
            "summary": plain(getattr(part, "summary", "") or told),
            "error": "",
            "traceback": "",
        }
    except PluginError as error:
        return {"summary": "", "error": str(error), "traceback": traceback.format_exc()}
