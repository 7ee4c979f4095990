"""Signals at every phase of a run: none is swallowed, nothing is lost, and the status tells it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from contextlib import nullcontext

import pytest
from forks import Child
from runs_left import left

import vaeflow.cli.progress  # what a command imports, once for all children
import vaeflow.runs.experiment  # noqa: F401
from vaeflow.cli import main
from vaeflow.runs.directory import Run

EPOCHS = 3

# Phase -> where the signal comes: a function, and at which of its calls.
BEFORE = {
    "config": ("vaeflow.config.layers.Layers.resolve", 1),
    "data": ("vaeflow.parts.datasets.file.File.load", 1),
    "first pass": ("vaeflow.model.VAE.forward", 1),
}
WITHIN = {
    "new directory": ("vaeflow.runs.directory.Run.set_config", 1),
    "first status": ("vaeflow.runs.directory.Run.set_status", 1),
    "first step": ("vaeflow.training.step.Step.__call__", 1),
    "step": ("vaeflow.training.step.Step.__call__", 5),
    "last step": ("vaeflow.training.step.Step.__call__", 9),
    "validation": ("vaeflow.training.loop.validate", 2),
    "metrics": ("vaeflow.training.observers.metrics_file.MetricsFile.epoch", 1),
    "save": ("vaeflow.training.checkpoints.CheckpointStore.save", 1),
    "write": ("os.fsync", 3),
    "prune": ("shutil.rmtree", 1),
    "last validation": ("vaeflow.training.loop.validate", EPOCHS),
    "last metrics": ("vaeflow.training.observers.metrics_file.MetricsFile.epoch", EPOCHS),
    "last save": ("vaeflow.training.checkpoints.CheckpointStore.save", EPOCHS),
    "final evaluation": ("vaeflow.runs.experiment.evaluate_split", 1),
    "summary": ("vaeflow.runs.directory.Run.set_summary", 1),
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def named(name):
    """Return the object that holds an attribute, and the attribute's name."""
    path, _, attribute = name.rpartition(".")
    words = path.split(".")
    for i in range(len(words), 0, -1):
        try:
            found = __import__(".".join(words[:i]), fromlist=["x"])
        except ImportError:
            continue
        for word in words[i:]:
            found = getattr(found, word)
        return found, attribute
    raise AssertionError(name)


def at(where, numbers):
    """Send this process signals, one after the other, as a function is called."""
    (name, call), calls = where, itertools.count(1)
    place, attribute = named(name)
    function = getattr(place, attribute)

    def hooked(*given, **options):
        if next(calls) == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        return function(*given, **options)

    setattr(place, attribute, hooked)


@pytest.fixture(scope="module")
def words(tiny, grey_file):
    """The command line of a small training, without the directory."""
    data = ["--dataset", "file", "--dataset.path", str(grey_file)]
    rest = ["--epochs", str(EPOCHS), "--checkpoint-seconds", "0", "--no-tensorboard"]
    return ["train", *tiny, *data, *rest, "--device", "cpu", "--run-dir"]


@pytest.fixture
def struck(fork, words):
    """Train in a child that gets signals, and return how it ended."""

    def strike(path, where, *numbers):
        def work():
            at(where, numbers)
            main([*words, str(path)])

        return fork(work).end()

    return strike


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """What a training leaves that nobody disturbs."""
    path = tmp_path_factory.mktemp("whole") / "run"
    child = Child(lambda: main([*words, str(path)]))
    assert child.end().status == 0
    child.output.close()
    return left(path)


def spread(cases, count):
    """Return `count` of the cases, spread over all of them."""
    return [cases[i * len(cases) // count] for i in range(min(count, len(cases)))]


def test_a_signal_before_the_training_leaves_nothing(struck, tmp_path, amount, counted):
    cases = list(itertools.product(BEFORE, SIGNALS))
    chosen = spread(cases, amount(2, 9))
    for phase, number in chosen:
        run = tmp_path / f"{phase}-{number.name}"
        ended = struck(run, BEFORE[phase], number)
        assert ended.status in (128 + number, -number), (phase, number, ended.output)
        assert "Traceback" not in ended.output
        assert not run.exists()
    counted("signals before the training", len(chosen))


def test_a_signal_stops_the_run_and_resume_does_what_is_left(
    fork, struck, whole, tmp_path, amount, counted
):
    cases = list(itertools.product(WITHIN, SIGNALS))
    lost = silent = 0
    chosen = spread(cases, amount(5, len(cases)))
    for phase, number in chosen:
        path = tmp_path / f"{phase}-{number.name}"
        ended = struck(path, WITHIN[phase], number)
        told, run = f"{phase}, {number.name}: {ended.output}", Run(path)
        assert "Traceback" not in ended.output, told
        silent += ended.status != 128 + number
        assert run.status["state"] == "interrupted", told
        assert run.status["exit_code"] == 128 + number, told
        if "step" in run.status:
            assert run.store.latest().step == run.status["step"], told
        assert not run.summary or phase == "summary", told
        again = fork(lambda path=path: main(["resume", str(path)])).end()
        assert again.status == 0, again.output
        assert Run(path).status["state"] == "completed"
        lost += left(path) != whole
        shutil.rmtree(path)
    counted("signals to a run", len(chosen), lost=lost, silent=silent)


TWICE = ("first step", "save", "last validation", "final evaluation")


def test_a_second_signal_acts_at_once_and_the_status_says_so(
    fork, struck, whole, tmp_path, amount, counted
):
    cases = [(phase, number) for phase in TWICE for number in SIGNALS[:2]]
    chosen = spread(cases, amount(1, len(cases)))
    for phase, number in chosen:
        path = tmp_path / f"{phase}-{number.name}"
        ended = struck(path, WITHIN[phase], number, number)
        assert "Traceback" not in ended.output, ended.output
        assert ended.status == 128 + number, ended.output
        status = Run(path).status
        assert (status["state"], status["exit_code"]) == ("interrupted", 128 + number)
        again = fork(lambda path=path: main(["resume", str(path)])).end()
        assert again.status == 0, again.output
        assert left(path) == whole
    counted("second signals", len(chosen))


def test_a_signal_that_is_swallowed_would_be_seen(fork, words, tmp_path):
    """The test above fails if the final evaluation does not ask whether it is to begin."""

    def work():
        from vaeflow.cli import progress, signals

        at(WITHIN["last metrics"], [signal.SIGTERM])
        signals.Stop.__call__ = lambda stop: 0
        progress.stopped_at_once = nullcontext
        main([*words, str(tmp_path / "run")])

    assert fork(work).end().status == 0
    assert Run(tmp_path / "run").status["state"] == "completed"


def test_a_final_evaluation_that_fails_is_not_completed(fork, words, whole, tmp_path):
    def work():
        from vaeflow.errors import StorageError
        from vaeflow.runs import experiment

        def full(*given, **options):
            raise StorageError("summary.json cannot be written (no space): free some")

        experiment.evaluate_split = full
        main([*words, str(tmp_path / "run")])

    assert fork(work).end().status == 8
    status = Run(tmp_path / "run").status
    assert (status["state"], status["exit_code"], status["epoch"]) == ("failed", 8, EPOCHS)
    assert fork(lambda: main(["resume", str(tmp_path / "run")])).end().status == 0
    assert left(tmp_path / "run") == whole


def test_a_disk_that_fills_up_leaves_a_run_that_nobody_takes_for_running(
    fork, words, whole, tmp_path
):
    def work():
        import errno

        from vaeflow import storage
        from vaeflow.training.observers.metrics_file import MetricsFile

        def full(*given):
            raise OSError(errno.ENOSPC, "No space left on device")

        def filled(observer, record, model):
            if record["epoch"] == 2:
                storage._write = full
            append(observer, record, model)

        append, MetricsFile.epoch = MetricsFile.epoch, filled
        main([*words, str(tmp_path / "run")])

    ended = fork(work).end()
    assert ended.status == 8
    assert "ENOSPC" in ended.output
    assert "Traceback" not in ended.output
    assert Run(tmp_path / "run").status["state"] == "killed"  # no status could be written
    assert fork(lambda: main(["resume", str(tmp_path / "run")])).end().status == 0
    assert left(tmp_path / "run") == whole


DAMAGED = (b"", b'{"state": 3}', b"{", b"[]", b"\xff", b"{}")


def test_a_status_that_is_damaged_blocks_no_resume(fork, struck, whole, tmp_path, amount, counted):
    struck(tmp_path / "run", WITHIN["last step"], signal.SIGTERM)
    chosen = DAMAGED[: amount(1, 6)]
    for i, content in enumerate(chosen):
        path = shutil.copytree(tmp_path / "run", tmp_path / f"run {i}")
        (path / "status.json").write_bytes(content)
        ended = fork(lambda path=path: main(["resume", str(path)])).end()
        assert ended.status == 0, ended.output
        assert "Traceback" not in ended.output
        assert left(path) == whole
    counted("damaged status files", len(chosen))
