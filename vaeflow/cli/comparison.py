"""A comparison in the terminal."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from vaeflow.cli.voice import say
from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.report.numbers import as_json as numbers
from vaeflow.comparison.report.tables import tables
from vaeflow.evaluation.findings import sentences


def print_comparison(comparison: Comparison, *, as_json: bool = False) -> None:
    """Print all tables, the remarks and the results, or the content of report.json.

    The files of the report are named.
    """
    if as_json:
        click.echo(json.dumps(numbers(comparison), indent=2))
    else:
        _print_tables(comparison)
    for path in comparison.written:
        say(f"wrote {path}")


def _print_tables(comparison: Comparison) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # of a file or a pipe
    for table in tables(comparison):
        shown = Table(title=table.title, title_justify="left")
        for i, heading in enumerate(table.headings):
            shown.add_column(heading, justify="left" if i == 0 or table.of_words else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown, markup=False)
    for text in (*sentences(comparison.remarks), "", *sentences(comparison.results)):
        click.echo(text)
