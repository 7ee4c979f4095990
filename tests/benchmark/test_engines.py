"""Engines: the steps of a run, its failures, and processes that stop cleanly."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from vaeflow.benchmark import engines
from vaeflow.benchmark.engines import Outcome, Task, launch, local, ray, run_one, trouble
from vaeflow.config.way import Way

PYTHON = sys.executable


@pytest.fixture
def task(tmp_path):
    return Task(
        "x", tmp_path / "run", tmp_path / "x.toml", tmp_path / "logs" / "x.log", way=Way("q", 7)
    )


@pytest.fixture
def steps(task, monkeypatch):
    """Record each step instead of running it; a test fills `codes` with the exit codes."""
    taken, codes = [], []

    def take(words, out, stop):
        taken.append(words[0])
        out.write("Error: it is too warm\n")
        out.flush()
        return codes.pop(0) if codes else 0

    monkeypatch.setattr(engines, "launch", take)
    return taken, codes


def leave_run(task, state, *, summary):
    task.run.mkdir()
    (task.run / "environment.json").write_text("{}")
    (task.run / "status.json").write_text(json.dumps({"state": state}))
    if summary:
        (task.run / "summary.json").write_text(json.dumps({"nll": 1}))


def test_a_new_run_is_trained_and_evaluated(task, steps):
    assert run_one(task).error is None
    assert steps[0] == ["train", "evaluate"]


@pytest.mark.parametrize(
    ("was", "summary", "expected"),
    [
        ("interrupted", False, ["resume", "evaluate"]),
        ("running", False, ["resume", "evaluate"]),  # it was killed
        ("failed", False, ["resume", "evaluate"]),
        ("completed", False, ["resume", "evaluate"]),  # killed in its last evaluation
        ("completed", True, ["evaluate"]),
    ],
)
def test_a_run_continues_at_its_next_step(task, steps, was, summary, expected):
    leave_run(task, was, summary=summary)
    assert run_one(task).error is None
    assert steps[0] == expected


def test_a_run_killed_at_its_start_begins_again(task, steps):
    task.run.mkdir()
    (task.run / "config.toml").write_text("half of i")
    run_one(task)
    assert steps[0][0] == "train"
    assert not task.run.exists()


def test_a_failure_carries_the_message_of_its_step(task, steps):
    steps[1][:] = [5]
    found = run_one(task)
    assert steps[0] == ["train"]
    assert (found.error, found.interrupted) == ("it is too warm", False)


def test_an_interruption_is_no_failure(task, steps):
    steps[1][:] = [130]
    found = run_one(task)
    assert (found.error, found.interrupted) == (None, True)


def test_no_step_begins_after_a_stop(task, steps):
    found = run_one(task, lambda: True)
    assert (steps[0], found.interrupted, found.error) == ([], True, None)
    found = run_one(task, lambda: bool(steps[0]))
    assert (steps[0], found.interrupted) == (["train"], True)


def test_outcome_and_log_name_the_signal_of_a_kill(task, steps):
    steps[1][:] = [-signal.SIGKILL]
    assert "killed by SIGKILL: memory may have run out" in run_one(task).error
    assert "killed by SIGKILL" in trouble(task.log)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("begun\nSegmentation fault\n\n", "Segmentation fault"),
        ("Error: it is cold\n$ vaeflow train\nbegun\nError: it is warm\nbye\n", "it is warm"),
        ("Error: it is cold\n$ vaeflow train\nSegmentation fault\n", "Segmentation fault"),
        ("Error: it is cold\n$ vaeflow resume\n", "no word of why"),
    ],
)
def test_trouble_is_the_error_of_the_last_step(tmp_path, text, said):
    (tmp_path / "log").write_text(text)
    assert trouble(tmp_path / "log") == said
    expected = said if "Error: it is warm" in text else "killed"
    assert trouble(tmp_path / "log", otherwise="killed") == expected
    assert "cannot be read" in trouble(tmp_path / "none")


def test_launch_writes_a_log_and_returns_the_exit_code(task):
    task.log.parent.mkdir()
    with open(task.log, "a", encoding="utf-8") as out:
        assert launch(["--version"], out) == 0
        assert launch(["trian"], out) == 2
    log = task.log.read_text()
    assert log.startswith("$ vaeflow --version\nvaeflow, version")
    assert "unknown command (did you mean 'train'?)" in log


@pytest.fixture
def sleeper(tmp_path, monkeypatch):
    """Replace Python by a program that sleeps until SIGINT and then prints a word."""
    path = tmp_path / "python"
    path.write_text(
        "#!/bin/sh\ntrap 'echo saved; exit 130' INT\necho up $$\nwhile :; do sleep .02; done\n"
    )
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_stop_reaches_all_processes_and_waits_for_them(tmp_path, sleeper):
    tasks = [
        Task(n, tmp_path / n, tmp_path / "c", tmp_path / f"{n}.log", way=Way("q", 1)) for n in "abc"
    ]

    def up():
        return sum(t.log.exists() and "up" in t.log.read_text() for t in tasks)

    # A process that ends before the stop still yields an outcome.
    assert all(found.interrupted for found in local(tasks, 2, lambda: up() == 2))
    logs = [t.log.read_text() if t.log.exists() else "" for t in tasks]
    assert [log.count("saved") for log in logs] == [1, 1, 0]  # the third never began


def test_run_one_waits_for_an_orphaned_process(task, sleeper, steps, caplog):
    """Choose the next step only after the orphan has ended."""
    benchmark = (
        "import sys, pathlib; from vaeflow.benchmark.engines import Task, run_one; "
        "from vaeflow.config.way import Way; "
        f"sys.executable = {sys.executable!r}; p = pathlib.Path; "
        f"run_one(Task('x', p({str(task.run)!r}), p('x.toml'), p({str(task.log)!r}), Way('q', 7)))"
    )
    killed = subprocess.Popen([PYTHON, "-c", benchmark])
    while not (task.log.exists() and "up" in task.log.read_text()):
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    orphan = int(task.log.read_text().split()[-1])
    asked = []

    def stop():
        asked.append(None)
        if len(asked) == 3:
            assert steps[0] == []
            leave_run(task, "completed", summary=True)
            os.kill(orphan, signal.SIGKILL)
        return False

    try:
        assert run_one(task, stop).error is None
    except BaseException:
        os.kill(orphan, signal.SIGKILL)
        raise
    assert steps[0] == ["evaluate"]
    assert "is written by a process of another benchmark or search: waiting" in caplog.text
    assert len(asked) > 3


def test_a_stop_ends_the_wait_for_an_orphan(task, steps):
    task.log.parent.mkdir()
    with open(task.log, "a", encoding="utf-8") as other:
        engines._hold(other, lambda: False)
        stops = iter([False, False])
        found = run_one(task, lambda: next(stops, True))
    assert (found.interrupted, steps[0]) == (True, [])


def test_local_yields_each_outcome_as_its_run_ends(tmp_path, monkeypatch):
    def run(task, stop):
        time.sleep(task.way.samples / 50)
        return Outcome(task.name, 0.0)

    monkeypatch.setattr(engines, "run_one", run)
    tasks = [
        Task(n, tmp_path, tmp_path, tmp_path, way=Way("q", i)) for n, i in (("slow", 20), ("a", 0))
    ]
    assert [found.name for found in local(tasks, 2, lambda: False)] == ["a", "slow"]


def test_a_missing_ray_is_named_with_pip_install(monkeypatch, one_sentence):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(engines.ConfigError) as caught:
        next(ray([], 1, lambda: False))
    assert "pip install 'vaeflow[ray]'" in str(caught.value)
    one_sentence(str(caught.value))


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_local_ray_instance_runs_tasks(tmp_path):
    """The tasks lack a configuration and fail at once; each failure is an outcome."""
    cluster = pytest.importorskip("ray")
    cluster.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        tasks = [
            Task(n, tmp_path / n, tmp_path / "none.toml", tmp_path / f"{n}.log", way=Way("q", 1))
            for n in "ab"
        ]
        found = sorted(ray(tasks, 2, lambda: False), key=lambda o: o.name)
    finally:
        cluster.shutdown()
    assert [o.name for o in found] == ["a", "b"]
    assert all("none.toml does not exist" in o.error for o in found)
