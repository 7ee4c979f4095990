"""A group of commands, each in a module of its name that is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from vaeflow.cli.completion import with_runs
from vaeflow.errors import did_you_mean


class LazyGroup(click.Group):
    """A group whose help imports none of its commands.

    Arguments:
        package: the package whose modules hold the commands, each as `command`.
        summaries: name -> one line of help.
    """

    def __init__(self, *args: Any, package: str, summaries: Mapping[str, str], **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.package = package
        self.summaries = dict(summaries)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in their order."""
        return [*self.summaries]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in self.summaries:
            return None
        return with_runs(import_module(f"{self.package}.{name}").command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names with their summaries, or the options of the group."""
        if not incomplete[:1].isalnum() and incomplete:
            return click.Command.shell_complete(self, ctx, incomplete)
        named = self.summaries.items()
        return [CompletionItem(n, help=line) for n, line in named if n.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused with the nearest and the list."""
        name = args[0]
        if name[:1].isalnum() and name not in self.summaries and not ctx.resilient_parsing:
            ctx.fail(
                f"{name}: unknown command{did_you_mean(name, self.summaries)}; "
                f"there are {', '.join(self.summaries)}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names with their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([*self.summaries.items()])
