"""Run directories and benchmarks to a comparison: runs are found, evaluated, compared, reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vaeflow.comparison import report
from vaeflow.comparison.compare import compare
from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.finished import Finished, choose_way, look, not_done
from vaeflow.comparison.places import find
from vaeflow.config.way import ProposalKind, Way
from vaeflow.evaluation.options import Count, Split
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import build_model
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation import Evaluation
from vaeflow.runs.evaluation_options import EvaluationOptions
from vaeflow.runtime.progress import OpenBar, no_bar

Evaluating = Callable[[Run, Way], OpenBar]


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """How runs are compared.

    Attributes:
        proposal, samples, limit: of the NLL, K of the bounds under q, and how many of the first
            images are taken: by default the best way in which all runs were evaluated.
        evaluate: evaluate the runs that lack an evaluation in this way, where one is given.
        split: "train", "validation" or "test".
        baseline: the posterior or the group that the others are compared with; by default identity.
        anyway: compare runs that differ in their data or K.
        lenient: compare nothing if the baseline is missing, instead of raising.
        out: a directory for the report.
        device: of the evaluations: "auto", "cpu", "cuda", …
        data_root: where the data lies, if it has moved.
    """

    proposal: ProposalKind | None = None
    samples: Count | None = None
    limit: Count | None = None
    evaluate: bool = True
    split: Split = "test"
    baseline: str | None = None
    anyway: bool = False
    lenient: bool = False
    out: Path | None = None
    device: str = "auto"
    data_root: Path | None = None

    @property
    def way(self) -> Way | None:
        """Return the way of the evaluations, if one is given; the rest of it is the default."""
        if self.proposal is None and self.samples is None and self.limit is None:
            return None
        usual = Way()
        return Way(self.proposal or usual.proposal, self.samples or usual.samples, self.limit)


def compare_runs(
    paths: Iterable[Path],
    plugins: Plugins,
    options: CompareOptions | None = None,
    *,
    evaluating: Evaluating = lambda run, way: no_bar,
) -> Comparison:
    """Compare the runs of directories, and write the report that is asked for.

    Arguments:
        paths: run directories, or directories of benchmarks.
        plugins: where the parts of the runs are looked up.
        options: how; by default as `vaeflow compare` does.
        evaluating: called with each run to be evaluated and the way; returns the opener of its
            bars.

    Raises:
        CheckpointError: if a path is neither a run nor a benchmark.
        ConfigError: if the runs cannot be compared, or if a report of other runs would be lost.
        StorageError: if the report cannot be written.
    """
    options = options or CompareOptions()
    places, notes = find(paths)
    evaluate = None
    if options.way is None:
        ways = choose_way(places, options.split, anyway=options.anyway)
        notes += not_done(places)
    else:
        ways = dict.fromkeys((place.run.path for place in places), options.way)
        evaluate = _evaluator(plugins, options, evaluating) if options.evaluate else None
    of = (
        []
        if options.out is None
        else report.check_free(options.out, [place.run.path for place in places])
    )
    found = compare(
        [look(p, options.split, ways.get(p.run.path, Way()), evaluate) for p in places],
        parameters=lambda run: _parameters(run, plugins),
        baseline=options.baseline,
        anyway=options.anyway,
        lenient=options.lenient,
        notes=notes,
    )
    if options.out is None:
        return found
    return replace(found, written=tuple(report.write(found, options.out, of)))


def _evaluator(
    plugins: Plugins, options: CompareOptions, evaluating: Evaluating
) -> Callable[[Run, Way], object]:
    """Return a function that evaluates a run in some way."""

    def evaluate(run: Run, way: Way) -> object:
        bar = evaluating(run, way)
        how = EvaluationOptions(
            split=options.split,
            proposal=way.proposal,
            samples=way.samples,
            limit=way.limit,
            device=options.device,
            data_root=options.data_root,
        )
        return Evaluation.of(run, plugins, how).run(bar)

    return evaluate


def _parameters(run: Finished, plugins: Plugins) -> int:
    """Return the number of parameters of a run's model."""
    model = build_model(run.run.plan(plugins), run.run.form)
    return sum(p.numel() for p in model.parameters())
