"""`vaeflow compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import options as shared
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.comparison.finished import Finished, Place
    from vaeflow.evaluation.findings import Finding
    from vaeflow.plugins.loading import Plugins
    from vaeflow.runs.directory import Run


@click.command("compare")
@click.argument(
    "runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN|BENCHMARK..."
)
@shared.importance_samples(
    "Of the NLL; runs that lack this evaluation get it.  [default: the largest that all runs have]",
    default=None,
)
@shared.split
@shared.baseline
@shared.anyway
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory for the report: the page report.html, its picture report.png, and "
    "report.md, .csv and .json.",
)
@shared.device
@shared.data_root
@click.pass_obj
def command(
    selection: Selection | None,
    runs: tuple[Path, ...],
    importance_samples: int | None,
    split: str,
    baseline: str | None,
    anyway: bool,
    out: Path | None,
    device: str,
    data_root: Path | None,
) -> int:
    """Compare finished runs: does a richer posterior help, and how much?

    Runs that differ in their seed alone are one group. Every group is compared with the diagonal
    Gaussian, image by image, on the same images.
    """
    from vaeflow.comparison.finished import choose_samples, find, not_done
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(selection)
    places, notes = find(runs)
    if importance_samples is None:
        samples = choose_samples(places, split, anyway=anyway)
        notes += not_done(places)
        make = None
    else:
        samples = dict.fromkeys((place.run.path for place in places), importance_samples)
        make = _evaluator(plugins, split, device, data_root)
    report(
        places,
        plugins,
        lambda run: samples.get(run.path, 0),
        split=split,
        baseline=baseline,
        anyway=anyway,
        out=out,
        notes=notes,
        evaluate=make,
    )
    return 0


def report(
    places: Sequence[Place],
    plugins: Plugins,
    samples: Callable[[Run], int],
    *,
    split: str = "test",
    baseline: str | None = None,
    anyway: bool = False,
    lenient: bool = False,
    out: Path | None = None,
    notes: Sequence[Finding] = (),
    evaluate: Callable[[Run, int], object] | None = None,
) -> None:
    """Compare runs, print the tables, and write the report where one is asked for."""
    from rich.console import Console
    from rich.table import Table

    from vaeflow.comparison import report as reports
    from vaeflow.comparison.compare import compare
    from vaeflow.comparison.finished import look
    from vaeflow.comparison.report.tables import tables
    from vaeflow.evaluation.findings import sentences

    of = None if out is None else reports.check_free(out, [p.run.path for p in places])
    found = [look(place, split, samples(place.run), evaluate) for place in places]
    comparison = compare(
        found,
        parameters=lambda run: _parameters(run, plugins),
        baseline=baseline,
        anyway=anyway,
        lenient=lenient,
        notes=notes,
    )
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
    if out is not None and of is not None:
        for path in reports.write(comparison, out, of):
            click.echo(f"wrote {path}")


def _evaluator(
    plugins: Plugins, split: str, device: str, data_root: Path | None
) -> Callable[[Run, int], object]:
    """Return what evaluates a run, with a bar."""
    from vaeflow.cli.progress import counting
    from vaeflow.runs.evaluation import Evaluation

    def evaluate(run: Run, samples: int) -> object:
        click.echo(f"evaluating {run.path} with K = {samples:,}", err=True)
        evaluation = Evaluation(
            run, plugins, split=split, samples=samples, device=device, data_root=data_root
        )
        return evaluation.run(counting)

    return evaluate


def _parameters(run: Finished, plugins: Plugins) -> int:
    """Return the number of parameters of a run's model."""
    from vaeflow.runs.build import build_model

    shape = tuple(run.environment["data_shape"])
    model = build_model(run.run.plan(plugins), shape)
    return sum(p.numel() for p in model.parameters())
