"""`vaeflow score`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.runs.scores import Scores


@click.command("score", epilog="Example: vaeflow score runs/first --data new.csv --out scores.csv")
@click.argument("run", type=click.Path(path_type=Path))
@shared.data
@shared.own_split("test")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="All scores: .csv, .tsv, .parquet, .arrow or .npz.",
)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How many of the least likely examples are shown.",
)
@click.option(
    "--reference",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Compare with so many of RUN's test examples; with all, where `vaeflow evaluate` has kept "
    "them.",
)
@shared.proposal("Of log p(x), as `vaeflow evaluate` says.")
@shared.importance_samples("Draws of q for the ELBO of each example.")
@shared.tolerance
@shared.max_draws
@shared.chunk
@shared.trained
@shared.as_json
@click.pass_obj
def command(
    selection: Selection | None,
    /,
    run: Path,
    data: Path | None,
    out: Path | None,
    count: int,
    importance_samples: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Score each example by log p(x), in nats: the lower, the stranger under the model in RUN.

    Columns: log_p, its standard error log_p_error, Pareto-k̂ of its weights pareto_k, elbo, and
    less_likely, the share of RUN's test data with a lower log p(x). Where k̂ is above 0.7, or only a
    few draws have weight, the error is unknown and left empty. Where an example is as the test
    data, a share below 0.01 has a chance of 1 %: smaller ones are anomalies. Data of another kind
    may as well be more likely than all of the test data, with a share near 1. Of an example with
    gaps, log p(x) is that of what was observed, which the column observed tells.
    """
    from contextlib import nullcontext

    from vaeflow.cli.output import TABLES, new_file, write_columns
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.scoring import score
    from vaeflow.runtime.ranks import is_first

    with nullcontext() if out is None else new_file(out, *TABLES, ".npz"):
        found = score(
            run,
            data,
            plugins=load_plugins(selection),
            progress=False if as_json else None,
            samples=importance_samples,
            **options,
        )
        if out is not None and is_first():
            write_columns(out, found.columns)
    if as_json:
        click.echo(json.dumps({"run": str(run), **_as_dict(found, count)}, indent=2))
    elif out is None:
        _print(
            found,
            f"{options['split'] or 'test'} data" if data is None else f"data in {data}",
            count,
            own=data is None,
        )


def _as_dict(found: Scores, count: int) -> dict[str, Any]:
    """Return the means, and the least likely examples by their names."""
    least = found.least_likely(count)
    columns = {
        name: [_plain(value) for value in values[least].tolist()]
        for name, values in found.columns.items()
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {**found.bounds.as_dict(), "reference": found.reference, "least_likely": rows}


def _plain(value: Any) -> Any:
    """Return None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(found: Scores, of: str, count: int, *, own: bool) -> None:
    from vaeflow.cli.tables import print_bounds, print_rows

    findings = found.bounds.findings
    if not own:  # evaluate's --referee, which a finding advises, anneals a run's own data alone
        findings = [f for f in findings if f.kind != "nll-draws"]
    print_bounds(found.bounds, of, findings=findings, each=found.each)
    least = found.least_likely(count)
    columns = {name: values[least] for name, values in found.columns.items()}
    print_rows(f"the {len(least):,} least likely of {len(found):,}", columns)
    for line in found.sentences:
        click.echo(line)
