"""`vaeflow plugins check`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click

from vaeflow.errors import PluginError
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.testing import Verdict

# The worst verdict of a check over the choices that a part's options offer stands for all.
_MARKS = {"failed": "✗", "passed": "✓", "exempt": "–", "not applicable": "–"}


@click.command("check")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a verdict per check and choice.")
@click.pass_obj
def command(selection: Selection | None, name: str, as_json: bool) -> None:
    """Check everything that the plugin NAME brings, or one part "NAME/part".

    The checks of vaeflow.testing are run: for a posterior, that log q is the density of its draws.
    Each part is checked with its defaults and with every other choice that its options offer;
    NAME vaeflow stands for the built-in parts.
    """
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.testing import verdicts

    found: list[Verdict] = []
    for subject, group in groupby(
        verdicts(name, plugins=load_plugins(selection)), key=lambda verdict: verdict.subject
    ):
        part = list(group)
        found += part
        if not as_json:
            click.echo(subject)
            for line in _lines(part):
                click.echo(f"  {line}")
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in found], indent=2, default=str))
    count = Counter(verdict.state for verdict in found)
    told = ", ".join(f"{count[state]} {state}" for state in _MARKS if count[state]) or "none"
    if count["failed"]:
        raise PluginError(f"{name}: of {len(found)} verdicts {told}: correct the checks marked ✗")
    if not count["passed"]:
        why = "the reasons stand above" if found else "it brings no part"
        raise PluginError(f"{name}: nothing could be checked (verdicts: {told}): {why}")
    if not as_json:
        click.echo(f"{len(found)} verdicts: {told}")


def _lines(verdicts: Iterable[Verdict]) -> Iterable[str]:
    """Give a line for each check, and, where it fails, one for each choice that it fails with."""
    by_check: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_check.setdefault(verdict.check, []).append(verdict)
    for check, each in by_check.items():
        worst = min(each, key=lambda verdict: [*_MARKS].index(verdict.state))
        if worst.state == "passed":
            yield f"✓ {check}"
        elif worst.state == "failed":
            for verdict in each:
                if verdict.state == "failed":
                    chosen = ", ".join(f"{k}={v}" for k, v in verdict.options.items())
                    where = f" with {chosen}" if chosen else ""
                    yield f"✗ {check}{where}: {verdict.reason}"
        else:
            yield f"– {check} ({worst.state}): {worst.reason}"
