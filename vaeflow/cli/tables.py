"""The tables of an evaluation and of a comparison, and the sentences below them."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.report.tables import tables
from vaeflow.evaluation import Bounds, Estimate
from vaeflow.evaluation.findings import sentences
from vaeflow.evaluation.latent_code import Code


def print_bounds(bounds: Bounds, title: str, code: Code | None = None) -> None:
    """Print the estimates as a table, with that of the code all that is known of them."""
    table = Table(title=f"{bounds.images:,} images of the {title}", title_justify="left")
    table.add_column("nats per image" if code is None else "per image, densities in nats")
    table.add_column("mean ± standard error", justify="right")
    rows: list[tuple[str, Estimate | None, str]] = [
        ("ELBO", bounds.elbo, ".2f"),
        ("  log p(x|z)", bounds.log_px, ".2f"),
        ("  − KL(q‖p)", -bounds.kl, ".2f"),
        (f"NLL, {bounds.samples:,} importance samples", bounds.nll, ".2f"),
        ("  bits per dimension", bounds.bits_per_dimension, ".4f"),
    ]
    if code is not None:
        table.add_column("Monte Carlo error", justify="right")
        rows += [
            ("effective sample size", bounds.effective_sample_size, ".1f"),
            ("reconstruction, squared error", bounds.squared_error, ".2f"),
            ("I(x; z), from below", code.mutual_information, ".2f"),
            ("KL(q(z)‖p), from above", code.marginal_kl, ".2f"),
        ]
    for label, estimate, digits in rows:
        if estimate is not None:
            cells = [label, f"{estimate:{digits}}"]
            if code is not None:
                error = estimate.monte_carlo_error
                cells.append("" if error is None else f"{error:.2g}")
            table.add_row(*cells)
    Console().print(table)
    if code is not None:
        for line in sentences([*bounds.findings, *code.findings]):
            click.echo(line)


def print_comparison(comparison: Comparison) -> None:
    """Print all tables, the remarks, the results, and the files of the report."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
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
