"""`vaeflow diagnose`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import options as shared
from vaeflow.cli.completion import names_of
from vaeflow.cli.signals import stopped_at_once
from vaeflow.cli.voice import say
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.diagnosis.diagnosis import Diagnosis
    from vaeflow.diagnosis.options import Stage
    from vaeflow.diagnosis.stored import StageFiles
    from vaeflow.evaluation import Estimate
    from vaeflow.evaluation.options import Split, Weights
    from vaeflow.runtime.progress import Advance

_MAPS = 8  # of more than these the table has the sum and the largest alone
_LARGEST = 3


@click.command(
    "diagnose",
    epilog="Example: vaeflow diagnose runs/first --images 10 --skip gaps --nuts 5",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="The first N of the split, and as many simulated ones.",
)
@shared.importance_samples("Draws of z per image, of the ELBO and of IWAE.", least=2)
@click.option(
    "--temperatures",
    type=click.IntRange(2),
    default=200,
    show_default=True,
    help="Between prior and posterior, of annealed importance sampling: more of them narrow its "
    "bracket, and take as much longer.",
)
@click.option(
    "--chains",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Of annealed importance sampling, at each image.",
)
@click.option(
    "--richer",
    multiple=True,
    metavar="POSTERIOR",
    shell_complete=names_of("posterior"),
    help="A family to compare the run's with, beside identity, the diagonal Gaussian; can be given "
    "several times. By default planar for a Gaussian or a mixture, mixture for a flow.",
)
@click.option(
    "--nuts",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Draw from the posteriors of the first N by NUTS, a referee for q, annealing and the "
    "Laplace proposal: half a minute for 10 digits, minutes for a larger model.",
)
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice(["ais", "gaps", "calibration", "log-dets"]),
    help="Leave out a stage; can be given several times.",
)
@shared.split
@shared.weights
@shared.device
@shared.data_root
@shared.seed
@click.option("--again", is_flag=True, help="Measure all stages anew.")
@shared.as_json
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory for diagnosis.json and, of latent size 2, posteriors.png.",
)
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    images: int,
    importance_samples: int,
    temperatures: int,
    chains: int,
    richer: tuple[str, ...],
    nuts: int,
    skip: tuple[Stage, ...],
    split: Split,
    weights: Weights,
    device: str,
    data_root: Path | None,
    seed: int,
    again: bool,
    as_json: bool,
    out: Path | None,
) -> int:
    """Show where the model in RUN loses log p(x) − ELBO: to q's family, or to the encoder.

    Each image is given a q of its own, of the run's family and of richer ones (Cremer et al. 2018),
    and log p(x) is bounded by importance sampling and annealing, on images simulated from the
    model from above as well. Ranks of simulated z test whether q is as wide as the posterior.

    The defaults take minutes for a planar flow of the digits, and more for a larger model:
    --images 20 or --skip gaps for a quick look. RUN/diagnoses keeps the figures of each stage as it
    ends: a diagnosis that was interrupted, or is asked for with other options, measures what is
    left.
    """
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.diagnosis import RunDiagnosis, RunDiagnosisOptions
    from vaeflow.runs.directory import Run

    options = RunDiagnosisOptions(
        images=images,
        samples=importance_samples,
        temperatures=temperatures,
        chains=chains,
        richer=richer,
        nuts=nuts,
        skip=skip,
        split=split,
        weights=weights,
        device=device,
        data_root=data_root,
        seed=seed,
        out=out,
        again=again,
    )
    diagnosis = RunDiagnosis.of(Run.open(run), load_plugins(selection), options)
    stages = diagnosis.stages
    with stopped_at_once() as stop:
        try:
            found = diagnosis.measure(lambda total, what, done=0: _stage(total, what))
        except KeyboardInterrupt:
            click.echo(_interrupted(stages), err=True)
            return stop.code or 130
    if stages.found:
        known = ", ".join(stages.found)
        say(f"kept from before: {known}; --again measures them anew")
    _show(found, as_json)
    return 0


def _interrupted(stages: StageFiles) -> str:
    """Return the sentence on an interrupted diagnosis: the stages that it keeps."""
    if not stages.kept:
        return "Interrupted before the end of a stage that could be kept."
    names = ", ".join(stages.kept)
    return f"Interrupted; {stages.folder} keeps {names}, and the same command goes on from there."


def _show(found: Diagnosis, as_json: bool) -> None:
    from vaeflow.evaluation.findings import sentences

    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        _print(found)
        for sentence in sentences(found.findings):
            click.echo(sentence)
    for path in found.written:
        say(f"wrote {path}")


@contextmanager
def _stage(total: int, what: str) -> Iterator[Advance]:
    """Show a stage as a bar on a terminal, as one line with its seconds elsewhere."""
    from vaeflow.runtime.progress import on_terminal, terminal_bar

    began = time.monotonic()
    with terminal_bar(total, what) as done:
        yield done
    if not on_terminal():
        say(f"{what}: {time.monotonic() - began:.1f} s")


def _print(found: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table

    about = found.about
    title = f"{len(found.elbo.values):,} images of the {about['split']} data"
    table = Table(title=f"{title}, binarization {about['binarization']}", title_justify="left")
    table.add_column("nats per image")
    table.add_column("mean ± standard error", justify="right")
    table.add_column("Monte Carlo error", justify="right")
    for label, estimate in _rows(found):
        if estimate is None:
            table.add_section()
            table.add_row(label)
            continue
        error = estimate.monte_carlo_error
        table.add_row(label, f"{estimate:.3f}", "" if error is None else f"{error:.2g}")
    Console().print(table)


def _rows(found: Diagnosis) -> Iterator[tuple[str, Estimate | None]]:
    """Yield the estimates by name, and headings, which have none."""
    from vaeflow.evaluation import Estimate

    yield f"ELBO, K = {found.samples:,}", found.elbo.over_images
    for name, bound in found.log_px.items():
        yield f"log p(x) ≥ {name}", bound.over_images
    gaps = found.gaps
    yield f"log p(x) by {gaps.log_px_by}", None
    yield "log p(x) − ELBO", gaps.total.over_images
    if found.local:
        yield f"  approximation, {found.own}", gaps.approximation.over_images
        yield "  amortization", gaps.amortization.over_images
        for name, gap in gaps.richer.items():
            yield f"  approximation, {name}", gap.over_images
            yield f"    closed by {name}", gaps.closed[name].over_images
    if (bracket := found.bracket) is not None:
        yield f"{len(bracket.above.values):,} simulated images", None
        yield f"log p(x) ≥ {bracket.below_by}", bracket.below.over_images
        yield "log p(x) ≤ reverse AIS", bracket.above.over_images
        yield "  between them", bracket.width.over_images
    if found.log_dets:
        yield "log|det| of each map", None
        rows = [(f"  {i} {name}", det) for i, (name, det) in enumerate(found.log_dets, 1)]
        if len(rows) > _MAPS:
            yield f"  sum of {len(rows)}", Estimate(sum(det.mean for _, det in rows), None)
            largest = sorted(rows, key=lambda row: -abs(row[1].mean))[:_LARGEST]
            rows = [row for row in rows if row in largest]
        yield from rows
