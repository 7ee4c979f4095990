"""A comparison from Python, of run directories by their paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.directories import CompareOptions, compare_runs
from vaeflow.config.signature import options_from, with_options
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.paths import path_of
from vaeflow.runtime.progress import bar_of


@with_options(CompareOptions)
def compare(
    *runs: str | Path | Run,
    plugins: Plugins | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Comparison:
    """Compare trained runs: does a richer posterior help, and how much?

    Runs that differ in their seed alone are one group. Every group is compared with the diagonal
    Gaussian, example by example, on the same examples, and seed by seed where both have the seeds.

    Arguments:
        runs: run directories, or directories of benchmarks.
        plugins: where their parts are looked up; by default all that the environment selects.
        progress: show the progress of evaluations: by default on a terminal.

    Returns:
        Groups with their bounds and paired differences, in nats; print it to read its findings.

    Raises:
        CheckpointError: if a path is neither a run nor a benchmark.
        ConfigError: if the runs cannot be compared.
    """
    if len(runs) == 1 and isinstance(runs[0], list | tuple):
        runs = tuple(runs[0])
    if not runs:
        raise ConfigError(
            'compare: give the directories of runs, as in vaeflow.compare("runs/a", "runs/b")'
        )
    paths = [run.path if isinstance(run, Run) else path_of(run, "compare") for run in runs]
    bar = bar_of(progress)
    return compare_runs(
        paths,
        plugins or load_plugins(),
        options_from(CompareOptions, options, "compare"),
        evaluating=lambda run, way: bar,
    )
