"""`vaeflow plugins check`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli.part_options import split_dotted
from vaeflow.cli.voice import voice
from vaeflow.errors import PluginError
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.testing import Verdict


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take out the dotted options, whose names only the checked parts know."""
        rest, ctx.meta["vaeflow.dotted"] = split_dotted(args)
        return super().parse_args(ctx, rest)


@click.command(
    "check",
    cls=_Command,
    options_metavar="[--KIND.OPTION VALUE] [OPTIONS]",
    epilog="Example: vaeflow plugins check my_flow.py",
)
@click.argument("name")
@click.option("--verbose", "-v", is_flag=True, help="Give a line for each check.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: a verdict per check and set of options."
)
@click.pass_obj
def command(selection: Selection | None, name: str, verbose: bool, as_json: bool) -> None:
    """Check everything that the plugin NAME brings, or one part "NAME/part".

    NAME is an installed plugin, the path of a FILE.py, or vaeflow for the built-in parts. The
    checks of vaeflow.testing are run: for a posterior, that log q is the density of its draws.
    docs/contracts.md tells all of them.

    Each part is checked with its defaults and with other values of its options. An option given as
    --KIND.OPTION VALUE keeps its value; a part with a required option cannot be checked without.
    A part of which no core check could be run fails.

    \b
    vaeflow plugins check vaeflow-zuko
    vaeflow plugins check vaeflow-zuko/zuko-nsf -v
    vaeflow plugins check my_flow.py
    vaeflow plugins check my_flow.py/reach --posterior.reach 1
    """
    from vaeflow.cli.verdicts import CORE, counts, part_lines
    from vaeflow.plugins.containment import ENDLESS
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.testing import verdicts

    selection, named = _selected(selection or Selection.from_environment(), name)
    options = click.get_current_context().meta["vaeflow.dotted"]
    found: list[Verdict] = []
    for _, group in groupby(
        verdicts(named, options=options, plugins=load_plugins(selection, patience=ENDLESS)),
        key=lambda verdict: verdict.subject,
    ):
        part = list(group)
        found += part
        if not as_json:
            click.echo("\n".join(part_lines(part, every=verbose or voice().verbose)))
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in found], indent=2, default=str))
    told = counts(found) or "none"
    if any(verdict.state == "failed" for verdict in found):
        raise PluginError(f"{name}: of {len(found)} verdicts {told}: correct the checks marked ✗")
    if not any(verdict.state == "passed" for verdict in found):
        why = "the reasons stand above" if found else "it brings no part"
        raise PluginError(f"{name}: nothing could be checked (verdicts: {told}): {why}")
    if not as_json:
        unchecked = [v.subject for v in found if v.check == CORE and v.state != "passed"]
        without = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
        click.echo(f"{len(found)} verdicts: {told}{without}")


def _selected(selection: Selection, name: str) -> tuple[Selection, str]:
    """Return the plugins to load and the name to check, where NAME may be FILE.py or FILE.py/part.

    A file is named as by `--plugin FILE.py`, and then called by its own name.
    """
    match = re.fullmatch(r"(.+\.py)(/[^/]+)?", name)
    if match is None:
        return selection, name
    path, part = Path(match[1]), match[2] or ""
    given = [file for file in selection.files if file.name == path.name]
    if path.exists() or not given:
        same = any(file.absolute() == path.absolute() for file in given)
        files = selection.files if same else (*selection.files, path)
        selection = replace(selection, files=files)
    return selection, path.name + part
