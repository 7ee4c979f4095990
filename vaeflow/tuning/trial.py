"""One trial: a training that reports each epoch to the study, and stops where it is pruned."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vaeflow.config.layers import Plan
from vaeflow.errors import RunLockedError, StorageError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.again import train_or_resume
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import Watch
from vaeflow.runs.prepare import Experiment
from vaeflow.runs.status import Stop, known_status
from vaeflow.runtime.ranks import World
from vaeflow.training import Observer
from vaeflow.training.observers import Record
from vaeflow.tuning.search import Search
from vaeflow.tuning.study import Study, Trial, run_of, seed_of

PRUNED = 75  # the code that stops a training which is pruned: no signal's
log = logging.getLogger("vaeflow")


class Reporter(Observer):
    """Reports the bound of each epoch, and remembers whether the trial is to be pruned.

    Epochs within the warm-up of the objective are not compared: their β differs.
    """

    name = "the report to Optuna"

    def __init__(self, trial: Any, reported: Set[int]) -> None:
        self.trial = trial
        self.reported = reported  # before it was interrupted
        self.objective: Objective | None = None
        self.epochs = 0
        self.steps_per_epoch = 1
        self.pruned = False

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch

    def epoch(self, record: Record, model: VAE) -> None:
        epoch, objective = record["epoch"], self.objective
        assert objective is not None
        by_steps = objective.warmup_unit == "steps"
        if epoch < objective.warmup / (self.steps_per_epoch if by_steps else 1):
            return
        if epoch not in self.reported:
            self.trial.report(bound(record, model, objective), epoch)
        self.pruned = epoch < self.epochs and self.trial.should_prune()


def bound(record: Record, model: VAE, objective: Objective) -> float:
    """Return the validation bound of an epoch by which the weights are selected."""
    if objective.selects_by == "objective":
        return float(model.likelihood.log_peak - record["validation/loss"])
    return float(record["validation/elbo"])


def run_trial(
    folder: Path, number: int, plugins: Plugins, watch: Watch, *, threads: int | None = None
) -> Trial:
    """Train the run of a trial, or go on with it, and write down how it ended.

    A trial that is interrupted, or whose disk is full, stays unfinished: the same search again goes
    on with it. One that fails otherwise is marked as failed, and its error is raised.

    Arguments:
        folder: of the search.
        number: of the trial.
        plugins: where its parts are looked up.
        watch: how the training is watched and stopped.
        threads: of the CPU, where the search does not name them.
    """
    search = Search.read(folder, plugins)
    seed = int(search.fixed("seed") or 0)
    study = Study(folder, seed=seed_of(seed, number))
    if study.trial(number).state != "unfinished":
        return study.trial(number)
    try:
        plan = search.plan(study.draw(number, search, plugins), plugins)
        _train(study, number, _sharing(plan, run_of(folder, number), threads), watch)
    except (KeyboardInterrupt, StorageError, RunLockedError):
        raise
    except Exception:
        study.close(number, "failed")
        raise
    return study.trial(number)


def _sharing(plan: Plan, path: Path, threads: int | None) -> Plan:
    """Return the plan with its share of the cores; a run goes on with its first one."""
    if path.exists():
        found = Run.open(path).settings().get("threads")
        return plan.but(threads=None if found is None else int(found))
    return plan if threads is None else plan.but(threads=threads)


def _train(study: Study, number: int, plan: Plan, watch: Watch) -> None:
    reporter = Reporter(study.live(number), study.reported(number))

    def observers(run: Run, experiment: Experiment) -> Sequence[Observer]:
        reporter.objective = experiment.trainer.objective
        return [*watch.observers(run, experiment), reporter]

    @contextmanager
    def stopping(world: World) -> Iterator[Stop]:
        with watch.stopping(world) as stop:
            yield lambda: stop() or (PRUNED if reporter.pruned else 0)

    path = run_of(study.folder, number).absolute()
    train_or_resume(plan, path, replace(watch, observers=observers, stopping=stopping))
    run = Run.open(path)
    status = known_status(run)
    if status.get("state") == "completed":
        best = run.checkpoint().progress.best_elbo
        if best is None:  # within the warm-up no epoch counts as the best
            best = run.metrics[-1]["validation/elbo"]
        study.close(number, "complete", best)
    elif status.get("exit_code") == PRUNED:
        study.close(number, "pruned")
        with run.locked():
            run.set_status(**status, pruned=True)
