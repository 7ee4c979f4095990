"""`vaeflow plugins`."""

from __future__ import annotations

import click

from vaeflow.cli.lazy import LazyGroup


@click.group(
    "plugins",
    cls=LazyGroup,
    package=__name__,
    summaries={
        "list": "List the installed plugins; their code is not imported. The default.",
        "info": "Explain one plugin: its parts, its hooks, its state and why it failed.",
        "check": "Check that everything a plugin brings keeps its contract.",
        "new": "Write a new plugin package.",
    },
    invoke_without_command=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--requirements", is_flag=True, help="Print them with their versions, as pip install -r reads."
)
@click.pass_context
def command(ctx: click.Context, as_json: bool, requirements: bool) -> None:
    """List, explain, check and write plugins.

    A plugin is a pip package that brings parts or hooks; docs/writing-a-plugin.md shows how to
    write one.

    Example: vaeflow plugins --requirements > requirements.txt
    """
    if ctx.invoked_subcommand is None:
        from vaeflow.cli.commands.plugins.list import command as listing

        ctx.invoke(listing, as_json=as_json, requirements=requirements)
