"""The life of a run: from a plan to a trained and evaluated run directory, and on after a stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vaeflow.config.flat import flatten
from vaeflow.config.layers import Plan
from vaeflow.errors import ConfigError
from vaeflow.evaluation import Bounds
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.bound import check_changes, check_config, check_data
from vaeflow.runs.build import images_of
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation import choose_for, evaluate_split
from vaeflow.runs.gallery import gallery_of
from vaeflow.runs.paths import new_path, taken
from vaeflow.runs.prepare import Experiment, facts_of, prepare
from vaeflow.runs.status import ELSEWHERE, Stop, ending, known_status
from vaeflow.runs.weights import load_weights
from vaeflow.runtime.devices import cpu_threads
from vaeflow.runtime.progress import OpenBar, no_bar
from vaeflow.runtime.ranks import World, launched
from vaeflow.training import Fit, Observer
from vaeflow.training.checkpoints import Checkpoint, check_room
from vaeflow.training.observers import Crew
from vaeflow.training.observers.metrics_file import MetricsFile
from vaeflow.training.observers.plugin_hooks import hooks_of
from vaeflow.training.restoring import check_end
from vaeflow.version import __version__

log = logging.getLogger("vaeflow")


@dataclass(frozen=True)
class Watch:
    """How a run is watched and stopped from outside. By default nothing does either.

    Arguments:
        observers: called before the first step, by the first rank alone.
        stopping: entered for the time of the training; its value is asked between two steps.
        evaluating: entered for the time of the final evaluation; it raises KeyboardInterrupt in the
            block, or at its begin, where the run is to stop.
        bar: opens the bar of the final evaluation.
    """

    observers: Callable[[Run, Experiment], Sequence[Observer]] = lambda run, experiment: ()
    stopping: Callable[[World], AbstractContextManager[Stop]] = lambda world: nullcontext(lambda: 0)
    evaluating: Callable[[], AbstractContextManager[object]] = nullcontext
    bar: OpenBar = no_bar


@dataclass(frozen=True)
class Outcome:
    """A run after its training; `bounds` is None where that was interrupted, and on later ranks."""

    run: Run
    experiment: Experiment
    fit: Fit
    bounds: Bounds | None


def train(plan: Plan, path: Path | None = None, watch: Watch | None = None) -> Outcome:
    """Train in a new run directory, by default below runs/, and evaluate the best weights.

    Raises:
        ConfigError: if the directory exists.
        DataError: if the data cannot be had or scored, or if another rank loaded other data.
        PluginError, NonFiniteError, StorageError, RankError: as the training calls for.
    """
    if path is not None and path.exists():
        raise taken(path)

    def begin(experiment: Experiment, world: World) -> Run:
        directory = path or new_path(Path("runs"), experiment.config)
        facts = facts_of(experiment, world)
        if not world.first:
            return Run(directory)
        return Run.create(directory, experiment.plan, facts, _weight_bytes(experiment))

    return _live(plan, begin, watch or Watch())


def resume(
    run: Run,
    plugins: Plugins,
    *,
    epochs: int | None = None,
    data_root: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Outcome | None:
    """Continue a run from its newest checkpoint, or from the beginning if it has none.

    Arguments:
        run: the run.
        plugins: where its parts are looked up.
        epochs: train to this many in all.
        data_root: where the data lies, if it has moved.
        changes: other settings than the run's, nested, such as {"lr": 1e-4}.
        watch: how the run is watched and stopped.

    Returns:
        None where the run is complete.

    Raises:
        ConfigError: if a setting cannot change, or config.toml did; if there are fewer epochs than
            are done; or if the schedule was laid out for another number of them.
        DataError: if the run began with other data.
        CheckpointError: if no checkpoint is whole.
    """
    check_changes(changes or {})
    plan = _changed(run.plan(plugins, changes), run, epochs, data_root)
    found = run.store.latest()
    if found is not None:
        given = ["epochs"] * (epochs is not None) + [*flatten(changes or {})]
        edited = check_config(run.path, run.settings(), found, resuming=True, given=given)
        epochs = plan.config.epochs if "epochs" in edited else epochs
        check_end(found, plan.config.epochs)
    if _complete(run, found, epochs):
        return None

    def begin(experiment: Experiment, world: World) -> Run:
        _warn_of_changes(run, experiment, world)
        return run

    return _live(plan, begin, watch or Watch(), resuming=True)


def _complete(run: Run, found: Checkpoint | None, epochs: int | None) -> bool:
    """Return whether a run is at its end, by the newest checkpoint that is whole."""
    status = known_status(run)
    if found is None or status.get("state") != "completed" or status.get("step") != found.step:
        return False
    # Early stopping may have ended it before its time.
    enough = epochs is None or found.progress.epoch >= epochs
    return enough and bool(run.summary)


def _live(
    plan: Plan,
    begin: Callable[[Experiment, World], Run],
    watch: Watch,
    *,
    resuming: bool = False,
) -> Outcome:
    """Prepare, train and evaluate. The first rank holds the run's lock to the end."""
    with ExitStack() as held:
        held.enter_context(cpu_threads(plan.config.threads))
        with launched() as world:
            experiment = prepare(plan)
            with watch.stopping(world) as stop:
                run = begin(experiment, world)
                if not world.first:  # the first rank alone writes and is watched
                    fit = _fit(run, experiment, (), stop, resuming=resuming)
                    return Outcome(run, experiment, fit, None)
                held.enter_context(run.locked())
                crew = held.enter_context(_watched(run, experiment, watch))
                with ending(run, stop):
                    if resuming:
                        check_room(run.store.root, _weight_bytes(experiment))
                        run.set_config(experiment.config)
                    fit = _fit(run, experiment, crew, stop, resuming=resuming)
        # The other ranks have left: the evaluation is the first one's.
        return Outcome(run, experiment, fit, _finish(run, experiment, fit, watch, stop))


@contextmanager
def _watched(run: Run, experiment: Experiment, watch: Watch) -> Iterator[Crew]:
    """Yield all the observers of a run, who are told at the end of the block how it ended."""
    config = experiment.config
    hooks = hooks_of(experiment.plan.plugins, run.path, config.to_toml())
    observers = [MetricsFile(run.path / "metrics.jsonl"), *hooks, *watch.observers(run, experiment)]
    if config.tensorboard:
        from vaeflow.runs.board import board_of

        observers.append(board_of(experiment, run.path))
    crew = Crew(observers, gallery_of(experiment))
    try:
        yield crew
    finally:
        status = str(known_status(run).get("state", "failed"))
        crew.finish(status, run.summary if status == "completed" else {})


def _finish(run: Run, experiment: Experiment, fit: Fit, watch: Watch, stop: Stop) -> Bounds | None:
    """Evaluate a training that is whole; the run is completed when its summary is written.

    Returns:
        None where the run is told to stop before: resume then does what is left.
    """
    reached = {"epoch": fit.progress.epoch, "step": fit.progress.step}
    if fit.status == "interrupted" or stop():
        run.set_status("interrupted", exit_code=stop() or ELSEWHERE, **reached)
        return None
    try:
        with ending(run, stop, **reached), watch.evaluating():
            bounds = _evaluate(run, experiment, fit, watch)
    except KeyboardInterrupt:
        if not stop():  # nobody but the caller knows of it
            raise
        return None
    run.set_status("completed", **reached)
    return bounds


def _fit(
    run: Run,
    experiment: Experiment,
    observers: Sequence[Observer] | Crew,
    stop: Stop,
    *,
    resuming: bool,
) -> Fit:
    checkpoint = run.store.latest() if resuming else None
    if checkpoint is not None:
        experiment.trainer.restore(checkpoint)
    return experiment.trainer.run(observers, run.store, stop)


def _evaluate(run: Run, experiment: Experiment, fit: Fit, watch: Watch) -> Bounds:
    """Evaluate the best weights on the test data, and write the summary."""
    config, done = experiment.config, fit.progress
    load_weights(experiment.model, run.checkpoint(), "best")
    images = images_of(experiment.splits, "test", config)[: config.test_images]
    choice = choose_for(experiment.model, images, config)
    with watch.bar(len(images), "test images") as progress:
        bounds = evaluate_split(
            experiment.model,
            images,
            config,
            choice,
            samples=config.test_samples,
            progress=progress,
        )
    run.set_summary(
        {
            "dataset": config.dataset.name,
            "split": "test",
            "binarization": config.binarization,
            "dequantize": config.dequantize,
            "weights": "best" if done.best_epoch else "last",
            "best_epoch": done.best_epoch or None,
            "seconds": done.seconds,
            **bounds.as_dict(),
        }
    )
    return bounds


def _weight_bytes(experiment: Experiment) -> int:
    return sum(w.nbytes for w in experiment.model.state_dict().values())


def _changed(plan: Plan, run: Run, epochs: int | None, data_root: Path | None) -> Plan:
    """Return the plan of a run with the settings that may change."""
    if data_root is not None:
        plan = plan.but(data_root=data_root.absolute())
    if epochs is None or epochs == plan.config.epochs:
        return plan
    if plan.config.schedule == "cosine":
        raise ConfigError(
            f"--epochs {epochs}: the cosine schedule of {run.path} was laid out for "
            f"{plan.config.epochs} epochs; train a new run instead"
        )
    return plan.but(epochs=epochs)


def _warn_of_changes(run: Run, experiment: Experiment, world: World) -> None:
    """Refuse other data than the run's, and warn of another environment."""
    before, plan = run.environment, experiment.plan
    sha256 = before.get("data_sha256")
    check_data(run.path, sha256, plan, experiment.splits, "train a new run")
    for name, now in (
        ("vaeflow", __version__),
        ("torch", torch.__version__),
        ("threads", torch.get_num_threads()),
        ("ranks", world.count),
    ):
        if before.get(name, 1) != now:  # an older run names no ranks, and had one
            log.warning(
                "%s is %s now and was %s: the run goes on, but bit for bit only as it was",
                name, now, before.get(name),
            )  # fmt: skip
