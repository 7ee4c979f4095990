"""The commands of plugins, after those of vaeflow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import click
from click.shell_completion import CompletionItem

from vaeflow.cli.lazy import LazyGroup
from vaeflow.cli.selection import selection_of
from vaeflow.errors import PluginError, VaeflowError, one_line
from vaeflow.version import __version__

if TYPE_CHECKING:
    from vaeflow.plugins.discovery import Selection
    from vaeflow.plugins.loading import Plugins
    from vaeflow.plugins.registry import Part

_HOOK = "vaeflow_register_commands"
_TOOL = "vaeflow.tool"  # the key of the plugin's command that runs


class CommandLine(LazyGroup):
    """The group of all commands, of which plugins may bring some.

    Plugins are loaded where they are needed: for a command that is not vaeflow's own and, by
    --help, those whose source names the hook.
    """

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command, of vaeflow or of a plugin.

        Raises:
            ConfigError: if there is none, or if several plugins offer it.
            PluginError: if it cannot be imported or is no command.
        """
        if name in self.summaries or not name[:1].isalnum():
            return super().get_command(ctx, name)
        try:
            tool = self._plugins(selection_of(ctx)).require("command", name)
            command = cast(click.Command, tool.load())
        except VaeflowError:
            if ctx.resilient_parsing:  # a line that the shell completes
                return None
            raise
        ctx.meta[_TOOL] = tool
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused by `get_command`."""
        return click.Group.resolve_command(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a plugin's raises is told in a sentence.

        Raises:
            PluginError: for it.
        """
        try:
            return super().invoke(ctx)
        except (VaeflowError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            tool: Part | None = ctx.meta.get(_TOOL)
            if tool is None or ctx.params["debug"] or isinstance(error, BrokenPipeError):
                raise
            told = f"{tool.owner} failed ({one_line(error)}): --debug says where"
            raise PluginError(told) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names with their summaries, and those of plugins below them."""
        super().format_commands(ctx, formatter)
        if theirs := self._theirs(ctx):
            with formatter.section("Commands of plugins"):
                formatter.write_dl(theirs)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names with their summaries, those of plugins too."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete and not incomplete[0].isalnum():  # an option
            return found
        theirs = self._theirs(ctx)
        return found + [
            CompletionItem(n, help=text) for n, text in theirs if n.startswith(incomplete)
        ]

    def _theirs(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return names and summaries of the commands of plugins whose source names the hook."""
        from vaeflow.plugins.glance import naming

        bring = naming(_HOOK)
        if not (bring or ctx.params.get("files")):
            return []
        from vaeflow.plugins.registry import BUILTIN, Tool

        selection = replace(selection_of(ctx), bringing=bring)
        registry = self._plugins(selection).registry
        return [
            (registry.spelling(tool), tool.summary)
            for tool in registry.parts("command")
            if isinstance(tool, Tool) and tool.distribution != BUILTIN
        ]

    def _plugins(self, selection: Selection) -> Plugins:
        """Load plugins, and register vaeflow's own commands beside theirs."""
        from vaeflow.plugins.loading import load_plugins
        from vaeflow.plugins.registry import BUILTIN, Tool

        plugins = load_plugins(selection)
        plugins.registry.add(
            *(
                Tool("command", name, BUILTIN, __version__, f"{self.package}.{name}:command", line)
                for name, line in self.summaries.items()
            )
        )
        return plugins
