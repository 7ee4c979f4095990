"""`vaeflow doctor`."""

from __future__ import annotations

import json

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection


@click.command("doctor", epilog="Example: vaeflow doctor --json")
@shared.as_json
@click.pass_obj
def command(selection: Selection | None, as_json: bool) -> int:
    """Tell whether this machine is ready: torch and its GPU, plugins, extras, folders and data.

    A line says what was found and, of what is absent or broken, the command that mends it. The
    exit code is 1 if something is broken. Nothing is changed or downloaded.
    """
    from vaeflow.errors import printable
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runtime.doctor import doctor

    found = doctor(plugins=load_plugins(selection, quiet=True))
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else printable(str(found)))
    return 0 if found.healthy else 1
