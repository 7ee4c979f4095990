"""One process writes a run: the lock is held while it lives, and goes when it ends."""

import fcntl
import json
import os
import shutil
import signal
import time

import pytest
from forks import say

from vaeflow.cli import main
from vaeflow.config.layers import Layers
from vaeflow.errors import ConfigError, RunLockedError, StorageError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs import lock
from vaeflow.runs.directory import Run
from vaeflow.storage import append_to_file, write_file
from vaeflow.training.checkpoints import CheckpointStore


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


def is_free(run, fork):
    """Return whether another process gets the lock."""

    def work():
        try:
            with run.locked():
                return True
        except RunLockedError:
            return False

    return fork(work).end().value


def copy_the_run(run):
    shutil.copytree(run.path, run.path.with_name("copy"))


def read_the_lock(run):
    (run.path / "lock").read_text()


def fork_and_exit(run):
    if os.fork() == 0:
        os._exit(0)
    os.wait()


@pytest.mark.parametrize("act", [copy_the_run, read_the_lock, fork_and_exit])
def test_the_lock_stays_whatever_code_of_the_process_does(run, fork, act):
    with run.locked():
        act(run)
        assert not is_free(run, fork)
        with pytest.raises(RunLockedError, match="another process"), run.locked():
            pass  # nor is it given twice within the process
    assert is_free(run, fork)


def test_a_lock_of_the_process_is_seen_to_be_lost(run, fork, monkeypatch):
    """Mutant: POSIX's record locks end when any code of the process closes the file."""
    monkeypatch.setattr(lock, "_take", lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
    with run.locked():
        read_the_lock(run)
        assert is_free(run, fork)


def test_no_lock_survives_a_kill(run, fork, amount, counted):
    """And an orphan that the killed process had forked does not keep it."""

    cases, lost = amount(3, 20), 0
    for _ in range(cases):
        orphan, child = _orphaned(run, fork)
        assert not is_free(run, fork)
        child.kill()
        lost += not is_free(run, fork)
        os.kill(orphan, signal.SIGKILL)
    counted("locks whose process was killed", cases, lost=lost)


def test_an_orphan_is_seen_to_keep_the_lock(run, fork, monkeypatch):
    """Mutant: a forked child finds nothing to let go of."""

    class Blind(set):
        def __iter__(self):
            return iter(())

    monkeypatch.setattr(lock, "_held", Blind())
    orphan, child = _orphaned(run, fork)
    child.kill()
    assert not is_free(run, fork)
    os.kill(orphan, signal.SIGKILL)


def _orphaned(run, fork):
    """Return a forked child of a child that holds the lock, and that child."""

    def work():
        with run.locked():
            orphan = os.fork()
            if orphan:
                say(orphan)
            time.sleep(60)

    child = fork(work)
    return child.hear(), child


def test_of_two_that_start_at_once_one_gets_the_run(tmp_path, fork, amount, counted):
    """In turn two that make the directory, and two that go on with one."""
    layers = Layers()
    layers.add({"posterior": {"name": "planar"}}, "test")
    plan = layers.resolve(load_plugins())

    def work(run, making, start):
        while time.monotonic() < start:
            pass
        try:
            if making:
                Run.create(run.path, plan, {"threads": 1})
                say("mine")
            else:
                with run.locked():
                    say("mine")
                    time.sleep(60)
        except (ConfigError, RunLockedError):
            say("refused")

    cases, wrong = amount(10, 40), 0
    for case in range(cases):
        run, making = Run(tmp_path / f"run{case}"), case % 2 == 0
        if not making:
            run.path.mkdir()
        start = time.monotonic() + 0.15
        pair = [fork(work, run, making, start) for _ in range(2)]
        wrong += sorted(child.hear() for child in pair) != ["mine", "refused"]
        for child in pair:
            child.kill()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    counted("races of two starts", cases, silent=wrong)


def test_of_two_command_lines_at_once_one_trains(tmp_path, fork, tiny, grey_file, amount, counted):
    words = [
        "train", *tiny, "--dataset", "file", "--dataset.path", grey_file, "--no-tensorboard",
        "--run-dir", tmp_path / "run",
    ]  # fmt: skip
    cases, wrong = amount(1, 5), 0
    for _ in range(cases):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        pair = [fork(main, [str(word) for word in words]) for _ in range(2)]
        codes = sorted(child.end().status for child in pair)
        wrong += codes not in ([0, 2], [0, 7]) or Run(tmp_path / "run").checkpoint().step != 3
    counted("races of two command lines", cases, silent=wrong)


def saved(run, step):
    run.store.save(step, {}, {"progress": {"step": step}})


def test_a_run_that_was_made_anew_gets_nothing_of_the_old_process(run, fork):
    """The directory is removed under a living process, and another process trains there."""
    with run.locked():
        run.set_status("running")
        shutil.rmtree(run.path)
        run.path.mkdir()
        with_lock = fork(lambda: is_mine(run))
        assert with_lock.end().value
        before = sorted(p.name for p in run.path.iterdir())
        for act in (
            lambda: run.set_status("completed"),
            lambda: run.set_summary({}),
            lambda: append_to_file(run.path / "metrics.jsonl", "{}\n", "cure"),
            lambda: write_file(run.path / "evaluations" / "x", b""),
            lambda: saved(run, 3),
        ):
            with pytest.raises(StorageError, match="was removed, or its lock was, while") as told:
                act()
            assert told.value.exit_code == 8
        assert sorted(p.name for p in run.path.iterdir()) == before
        assert json.loads((run.path / "status.json").read_text())["state"] == "new"


def is_mine(run):
    with run.locked():
        run.set_status("new")
        return True


def test_a_run_that_was_removed_is_not_made_again(run):
    with run.locked():
        shutil.rmtree(run.path)
        for act in (lambda: run.set_status("completed"), lambda: saved(run, 3)):
            with pytest.raises(StorageError, match="was removed"):
                act()
    assert not run.path.exists()


def test_without_the_guard_the_new_run_gets_rows_of_the_old_process(run, fork, monkeypatch):
    """Mutant: nothing is asked before a write."""
    monkeypatch.setattr("vaeflow.storage._check", lambda path: None)
    with run.locked():
        shutil.rmtree(run.path)
        run.path.mkdir()
        assert fork(lambda: is_mine(run)).end().value
        saved(run, 3)
    assert CheckpointStore(run.path / "checkpoints").latest().step == 3


def test_the_final_evaluation_runs_within_the_lock(
    tmp_path, fork, tiny, grey_file, monkeypatch, one_sentence
):
    """Another resume meanwhile is refused: status and summary are of one training."""
    from vaeflow.runs import experiment

    real = experiment.evaluate_split

    def slow(*given, **options):
        say("evaluating")
        while not (tmp_path / "go on").exists():
            time.sleep(0.01)
        return real(*given, **options)

    monkeypatch.setattr(experiment, "evaluate_split", slow)
    words = [
        "train", *tiny, "--dataset", "file", "--dataset.path", grey_file, "--no-tensorboard",
        "--run-dir", tmp_path / "run",
    ]  # fmt: skip
    child = fork(main, [str(word) for word in words])
    assert child.hear() == "evaluating"
    other = fork(main, ["resume", str(tmp_path / "run"), "--epochs", "2"]).end()
    (tmp_path / "go on").touch()
    assert other.status == 7, other.output
    assert child.end().status == 0
    assert Run(tmp_path / "run").status["epoch"] == 1
