"""A comparison in the terminal."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.report.tables import tables
from vaeflow.evaluation.findings import sentences


def print_comparison(comparison: Comparison) -> None:
    """Print all tables, the remarks, the results, and the files of the report."""
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
    for path in comparison.written:
        click.echo(f"wrote {path}")
