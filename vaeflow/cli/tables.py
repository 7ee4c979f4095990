"""The table of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import click
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vaeflow.errors import printable
from vaeflow.evaluation import Bounds, Estimate
from vaeflow.evaluation.findings import Finding, sentences
from vaeflow.evaluation.latent_code import LatentCode
from vaeflow.runs.verify import Checked

_COLUMNS = 30  # of a table that are shown


def plain(text: str) -> str:
    """Return a text as a cell shows it: neither the terminal nor rich obeys what is in it."""
    return escape(printable(text))


def print_bounds(
    bounds: Bounds,
    title: str,
    code: LatentCode | None = None,
    findings: Iterable[Finding] = (),
    *,
    each: str = "image",
) -> None:
    """Print the estimates as a table, with a latent code in all details, then the findings.

    An example is called `each`.
    """
    title = plain(f"{bounds.images:,} {each}s of the {title}")
    table = Table(title=title, title_justify="left")
    table.add_column(f"nats per {each}" if code is None else f"per {each}, densities in nats")
    table.add_column("mean ± standard error", justify="right")
    rows: list[tuple[str, Estimate | None, str]] = [
        ("ELBO", bounds.elbo, ".2f"),
        ("  log p(x|z)", bounds.log_px, ".2f"),
        ("  − KL(q‖p)", -bounds.kl, ".2f"),
        *_nll(bounds),
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
    for line in sentences(findings):
        click.echo(line)


def print_checked(found: Iterable[Checked]) -> None:
    """Print the files of a run, the state of each, and why."""
    table = Table("file", "state", "why")
    for column in table.columns:
        column.overflow = "fold"
    for one in found:
        table.add_row(*map(plain, (one.name, one.state, one.why)))
    Console().print(table)


def print_columns(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Print name, kind, values and share of missing values of the first columns."""
    table = Table("column", "kind", "values", "missing")
    for row in rows[:_COLUMNS]:
        table.add_row(*map(plain, row))
    Console().print(table)
    if len(rows) > _COLUMNS:
        click.echo(f"and {len(rows) - _COLUMNS:,} columns more, which --json shows")


def print_rows(title: str, columns: Mapping[str, np.ndarray]) -> None:
    """Print columns (N,) by name as a table; of numbers, the digits that a reader compares."""
    table = Table(title=plain(title), title_justify="left", box=SIMPLE_HEAD, padding=0)
    for name, values in columns.items():
        heading = plain(name).replace("_", " ")  # which a narrow terminal breaks between words
        left = values.dtype == object
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(plain(_cell(value)) for value in row))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating):
        number = float(value)
        digits = ".0f" if number.is_integer() else ".3f" if 0.001 <= abs(number) < 1 else ".4g"
        return f"{number:{digits}}"
    return str(value)


def _nll(bounds: Bounds) -> list[tuple[str, Estimate | None, str]]:
    """Return the NLL of the model and the bound under q, which are one where q is the proposal."""
    bits = ("  bits per dimension", bounds.bits_per_dimension, ".4f")
    under_q = (f"bound under q, K = {bounds.samples:,}", bounds.under_q, ".2f")
    if bounds.proposal == "q":
        return [under_q, bits]
    return [(f"NLL, proposal {bounds.proposal}", bounds.nll, ".2f"), bits, under_q]
