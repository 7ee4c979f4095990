"""`vaeflow compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import options as shared
from vaeflow.cli.voice import say
from vaeflow.errors import printable
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.config.way import ProposalKind, Way
    from vaeflow.evaluation.options import Split
    from vaeflow.runs.directory import Run
    from vaeflow.runtime.progress import OpenBar


@click.command("compare", epilog="Example: vaeflow compare runs/first runs/second")
@click.argument(
    "runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN|BENCHMARK..."
)
@shared.proposal(
    "Of the NLL; runs that lack this evaluation get it.  [default: the best that all runs have]",
    default=None,
)
@shared.importance_samples(
    "Of the bounds under q; likewise.  [default: the largest that all runs have]", default=None
)
@shared.limit
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
@shared.as_json
@click.pass_obj
def command(
    selection: Selection | None,
    runs: tuple[Path, ...],
    proposal: ProposalKind | None,
    importance_samples: int | None,
    limit: int | None,
    split: Split,
    baseline: str | None,
    anyway: bool,
    out: Path | None,
    device: str,
    data_root: Path | None,
    as_json: bool,
) -> int:
    """Compare finished runs: does a richer posterior help, and how much?

    Runs that differ in their seed alone are one group. Every group is compared with the diagonal
    Gaussian, image by image, on the same images, and seed by seed where both have the seeds.
    """
    from vaeflow.cli.comparison import print_comparison
    from vaeflow.comparison.directories import CompareOptions, compare_runs
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runtime.progress import terminal_bar

    def evaluating(run: Run, way: Way) -> OpenBar:
        say(printable(f"evaluating {run.path} with {way}"), err=True)
        return terminal_bar

    options = CompareOptions(
        proposal=proposal,
        samples=importance_samples,
        limit=limit,
        split=split,
        baseline=baseline,
        anyway=anyway,
        out=out,
        device=device,
        data_root=data_root,
    )
    found = compare_runs(runs, load_plugins(selection), options, evaluating=evaluating)
    print_comparison(found, as_json=as_json)
    return 0
