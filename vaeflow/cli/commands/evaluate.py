"""`vaeflow evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import options as shared
from vaeflow.cli.voice import say
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.config.way import ProposalKind
    from vaeflow.evaluation.options import Split, Weights


@click.command("evaluate", epilog="Example: vaeflow evaluate runs/first --proposal q -k 5000")
@click.argument("run", type=click.Path(path_type=Path))
@shared.proposal(
    "Of the NLL: a Gaussian fitted to the posterior of each image, its mixture with q, or q alone, "
    "which is what papers print.",
)
@shared.importance_samples("Draws of q per image, for the bounds under q.")
@shared.tolerance
@shared.max_draws
@shared.split
@shared.weights
@shared.device
@shared.data_root
@shared.limit
@click.option(
    "--referee",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Anneal N of the images whose NLL the draws leave unsettled: seconds each.",
)
@shared.chunk
@click.option("--again", is_flag=True, help="Compute all figures anew.")
@shared.as_json
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    proposal: ProposalKind,
    importance_samples: int,
    tolerance: float,
    max_draws: int,
    split: Split,
    weights: Weights,
    device: str,
    data_root: Path | None,
    limit: int | None,
    referee: int,
    chunk: int | None,
    again: bool,
    as_json: bool,
) -> int:
    """Estimate the ELBO and the NLL of the model in RUN, with standard errors over images.

    The NLL is the model's: importance sampling of p(x) from a Gaussian that is fitted to the
    posterior of each image, with as many draws as the tolerance needs. The bound under q draws
    from q(z|x) instead (Burda et al. 2016); papers print it as the NLL. Both approach −log p(x)
    from above, the bound under q the more slowly the worse q is.

    The figures of each image are kept in RUN/evaluations: an evaluation that was interrupted goes
    on where it was, and one that is whole is shown at once.
    """
    from vaeflow.cli.tables import print_bounds
    from vaeflow.data.layout import called
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.directory import Run
    from vaeflow.runs.evaluation import Evaluation
    from vaeflow.runs.evaluation_options import EvaluationOptions
    from vaeflow.runtime.progress import terminal_bar

    options = EvaluationOptions(
        split=split,
        proposal=proposal,
        samples=importance_samples,
        tolerance=tolerance,
        max_draws=max_draws,
        weights=weights,
        device=device,
        data_root=data_root,
        limit=limit,
        referee=referee,
        chunk=chunk,
        again=again,
    )
    opened = Run.open(run)
    evaluation = Evaluation.of(opened, load_plugins(selection), options)
    total, kept = len(evaluation.images), evaluation.kept
    if evaluation.stored and not as_json:
        say(f"as kept in {kept.path}; --again computes it anew")
    try:
        report = evaluation.run(terminal_bar)
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted after {kept.done:,} of {total:,} images; the same command goes on there.",
            err=True,
        )
        return 130
    if as_json:
        click.echo(json.dumps({"run": str(run), **report.as_dict()}, indent=2))
    else:
        of = f"{split} data, binarization {evaluation.config.binarization}"
        each = called(opened.form.shape)
        print_bounds(report.bounds, of, report.code, report.findings, each=each)
    return 0
