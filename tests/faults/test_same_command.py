"""`train --run-dir X --or-resume`: the same command, given again after each kill, ends one run."""

from __future__ import annotations

import os
import signal
from itertools import count

import pytest
from runs_left import left

import vaeflow.cli.progress
import vaeflow.runs.again
import vaeflow.training.step
from vaeflow.cli import main
from vaeflow.runs.directory import Run


@pytest.fixture
def words(tiny, grey_file, tmp_path):
    data = ["--dataset", "file", "--dataset.path", str(grey_file), "--no-tensorboard"]
    rest = ["--epochs", "3", "--checkpoint-seconds", "0", "--device", "cpu", "--or-resume"]
    return ["train", *tiny, *data, *rest, "--run-dir", str(tmp_path / "run")]


def killed_at(step, words):
    """Give the command in a process that dies before its so-many-th step."""
    steps, take = count(1), vaeflow.training.step.Step.__call__

    def counted(self, *given):
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return take(self, *given)

    vaeflow.training.step.Step.__call__ = counted
    main(words)


def test_the_same_command_after_each_kill_ends_one_run(fork, words, tmp_path, amount, counted):
    assert fork(lambda: main(words)).end().status == 0
    whole = left(tmp_path / "run")
    again = fork(lambda: main(words)).end()  # of a run that is complete
    assert again.status == 0
    assert "is complete after 3 epochs: nothing to do" in again.output
    steps = range(1, 10) if amount(0, 1) else [2, 8]
    lost = 0
    for step in steps:
        os.rename(tmp_path / "run", tmp_path / f"before {step}")
        ended = fork(killed_at, step, words).end()
        assert ended.status == -signal.SIGKILL, ended.output
        assert Run(tmp_path / "run").status["state"] == "killed"
        ended = fork(lambda: main(words)).end()
        assert ended.status == 0, ended.output
        lost += left(tmp_path / "run") != whole
    counted("the same command after a kill", len(steps), lost=lost)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--lr", "0.5"], "(lr: 0.001 there, 0.5 in the command)"),
        (["--epochs", "4"], "(epochs: 3 there, 4 in the command)"),
        (["--posterior", "planar"], "posterior.name: vaeflow/identity there, vaeflow/planar in"),
    ],
)
def test_another_configuration_is_refused_by_name(cli, words, tmp_path, one_sentence, more, told):
    assert cli(*words).code == 0
    done = cli(*words, *more)
    assert done.code == 2
    assert told in done.err
    one_sentence(done.err.strip())
    assert cli(*words).out == f"{tmp_path / 'run'} is complete after 3 epochs: nothing to do.\n"


def test_a_directory_that_is_no_run_is_left_alone(cli, words, tmp_path, one_sentence):
    (tmp_path / "run").mkdir()
    done = cli(*words)
    assert done.code == 2
    assert "it exists and is no run directory; choose one that is not there" in done.err
    one_sentence(done.err.strip())
    assert list((tmp_path / "run").iterdir()) == []


def test_it_needs_a_name_to_find_the_run_again(cli, words, one_sentence):
    done = cli(*words[:-2])
    assert done.code == 2
    assert "--or-resume needs --run-dir" in done.err
    one_sentence(done.err.strip())


def test_python_trains_or_goes_on_as_well(grey_file, tmp_path):
    given = {"dataset": ("file", {"path": str(grey_file)}), "epochs": 1, "latent": 2}
    given |= {"device": "cpu", "tensorboard": False, "test_samples": 2, "progress": False}
    first = vaeflow.train(tmp_path / "run", or_resume=True, **given)
    again = vaeflow.train(tmp_path / "run", or_resume=True, **given)
    assert again.path == first.path
    assert again.summary == first.summary
