"""The progress and the report that `train` and `resume` print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from vaeflow.cli.signals import Stop, interruptible, stopped_at_once
from vaeflow.cli.tables import print_bounds
from vaeflow.cli.voice import say
from vaeflow.data.binarization import DRAWN
from vaeflow.data.covariates import example_of
from vaeflow.data.layout import called
from vaeflow.pictures import is_drawable
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import Outcome, Watch
from vaeflow.runs.prepare import Experiment
from vaeflow.runs.status import ELSEWHERE
from vaeflow.runtime.progress import lines_of, on_terminal, terminal_bar
from vaeflow.training import Observer
from vaeflow.training.observers.progress import Bar, Lines


def observers(run: Run, experiment: Experiment) -> Sequence[Observer]:
    """Name the model and the data; return the observers of a training from the shell."""
    sizes = " / ".join(f"{size:,}" for size in experiment.splits.sizes().values())
    names = ", ".join(
        f"{kind} {part.name.removeprefix('vaeflow/')}"
        for kind, part in experiment.config.parts().items()
    )
    count = sum(p.numel() for p in experiment.model.parameters())
    say(f"{names}; {count:,} parameters on {experiment.model.device}")
    binarization = experiment.config.binarization
    say(f"{sizes} train / validation / test examples, binarization {binarization}")
    if binarization == "dynamic":
        say(f"dynamic: {DRAWN}")
    if told := experiment.model.scaling.told:
        say(told)
    say(f"run directory {run.path}")
    return [Bar() if on_terminal() else Lines(say)]


def watch(stop: Stop) -> Watch:
    """Return how a training from the shell is watched: with progress, until a signal stops it."""
    return Watch(
        observers=observers,
        stopping=lambda world: interruptible(stop, once=world.count == 1),
        evaluating=lambda: stopped_at_once(stop),
        bar=terminal_bar if on_terminal() else lines_of(say),
    )


def report(outcome: Outcome | None, stop: Stop, path: Path | None, *, as_json: bool = False) -> int:
    """Print how a training ended, and the next commands; return the exit code.

    Arguments:
        outcome: None of a run that was complete before.
        stop: what knows of a signal.
        path: the run directory, if one was given.
        as_json: print the run, its state and its summary as JSON instead.
    """
    if outcome is None:
        assert path is not None
        done = Run(path).status.get("epoch") or 0
        say(f"{path} is complete after {done} epochs: nothing to do.")
        _print_json(Run(path), as_json)
        return 0
    run, experiment, done = outcome.run, outcome.experiment, outcome.fit.progress
    files = [f"--plugin {shlex.quote(str(f))}" for f in experiment.plan.plugins.selection.files]
    words = " ".join([shlex.quote(str(run.path)), *files])
    if not outcome.experiment.trainer.world.first:
        return 0
    if outcome.bounds is None:
        whole = outcome.fit.status == "completed"
        where = "before the end of the final evaluation" if whole else f"after step {done.step:,}"
        click.echo(f"Interrupted {where}; go on with: vaeflow resume {words}", err=True)
        _print_json(run, as_json)
        return stop() or ELSEWHERE
    if as_json:
        _print_json(run, as_json)
        return 0
    title = f"test data, binarization {experiment.config.binarization}"
    each = called(experiment.trainer.model.data_shape)
    print_bounds(outcome.bounds, title, findings=outcome.bounds.collapsed, each=each)
    by = experiment.trainer.objective.selects_by
    which = f"of epoch {done.best_epoch}, the best validation {by}"
    if not done.best_epoch:
        which = f"of the last epoch, {done.epoch}: within the warm-up none counts as the best"
    click.echo(f"weights {which}; all results in {run.path}")
    say("\nNext:")
    for line in _next(run, experiment, words):
        say(f"  {line}")
    return 0


def _print_json(run: Run, wanted: bool) -> None:
    if wanted:
        about = {"run": str(run.path), **run.status, "summary": run.summary or None}
        click.echo(json.dumps(about, indent=2))


def _next(run: Run, experiment: Experiment, words: str) -> Iterator[str]:
    """Yield the commands that a run invites to."""
    yield f"vaeflow evaluate {words}"
    form = experiment.splits.form
    kind = "csv" if form.columns else "png" if is_drawable(form.shape) else "npz"
    given = [shlex.quote(f"{c.name}={example_of(c)}") for c in form.covariates]
    condition = f" --condition {','.join(given)}" if given else ""
    yield f"vaeflow sample {words}{condition} -n 64 --out samples.{kind}"
    if experiment.model.missing and form.columns:
        yield f"vaeflow impute {words} --out filled.csv"
    elif experiment.config.tensorboard:
        yield f"vaeflow tensorboard {shlex.quote(str(run.path))}"
    else:
        yield f"vaeflow reconstruct {words} --out reconstructions.{kind}"
