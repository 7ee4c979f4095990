"""`vaeflow plugins check`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from itertools import groupby

import click

from vaeflow.discovery import Selection
from vaeflow.errors import PluginError

_MARKS = {"passed": "✓", "failed": "✗", "exempt": "–", "not applicable": "–"}


@click.command("check")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a verdict per check.")
@click.pass_obj
def command(selection: Selection | None, name: str, as_json: bool) -> None:
    """Check everything that the plugin NAME brings, or one part "NAME/part".

    The checks are those of `vaeflow.testing`, run with the defaults of each part and with each
    other choice that its options offer; "vaeflow" names the built-in parts.
    """
    from vaeflow.plugins import load_plugins
    from vaeflow.testing import verdicts

    found = []
    for verdict in verdicts(name, plugins=load_plugins(selection)):
        found.append(verdict)
    if as_json:
        click.echo(json.dumps([asdict(v) for v in found], indent=2))
    else:
        _print(found)
    if failed := sum(v.state == "failed" for v in found):
        raise PluginError(f"{name} fails {failed} of {len(found)} checks: correct what is marked ✗")
