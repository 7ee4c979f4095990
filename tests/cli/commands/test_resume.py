"""`vaeflow resume`: complete runs, killed runs, and runs that it refuses.

tests/journeys/test_exact_resume.py shows that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from vaeflow.runs.directory import Run


def status(run) -> dict:
    return Run(run).status


@pytest.mark.parametrize("words", [(), ("--epochs", 2)])
def test_a_complete_run_is_unchanged(cli, run_copy, snapshot, words):
    before = snapshot(run_copy)
    done = cli("resume", run_copy, *words)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{run_copy} is complete after 2 epochs: nothing to do.\n"
    assert snapshot(run_copy) == before


def test_fewer_epochs_than_are_done_are_refused(cli, run_copy, snapshot, one_sentence):
    before = snapshot(run_copy)
    done = cli("resume", run_copy, "--epochs", 1)
    assert (done.code, done.out) == (2, "")
    one_sentence(done.err.strip())
    assert "--epochs 1: the run is in epoch 2 already: give --epochs 2 or more" in done.err
    assert snapshot(run_copy) == before


def test_a_run_that_stopped_early_is_complete(cli, tiny, grey_file, here, snapshot):
    done = cli(
        "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", grey_file,
        "--epochs", 50, "--lr", 1e-9, "--early-stopping", 1, "--run-dir", "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    epochs = status(here / "run")["epoch"]
    assert epochs < 50
    before = snapshot(here)
    done = cli("resume", "run")
    assert done.code == 0
    assert f"is complete after {epochs} epochs: nothing to do" in done.out
    assert snapshot(here) == before


def test_resume_repeats_a_killed_final_evaluation(cli, run_copy):
    summary = Run(run_copy).summary
    (run_copy / "summary.json").unlink()
    done = cli("resume", run_copy)
    assert done.code == 0, done.err
    again = Run(run_copy).summary
    timed = {**summary, "seconds": 0}
    assert {**again, "seconds": 0} == timed
    assert status(run_copy) == {"state": "completed", "epoch": 2, "step": 6}


def test_a_run_without_checkpoints_is_trained_again(cli, run_copy):
    # The commands that need a checkpoint advise this.
    shutil.rmtree(run_copy / "checkpoints")
    metrics = (run_copy / "metrics.jsonl").read_text()
    assert "`vaeflow resume" in cli("sample", run_copy, "--out", run_copy / "x.npz").err
    assert cli("resume", run_copy).code == 0
    assert cli("sample", run_copy, "--out", run_copy / "x.npz").code == 0
    for old, new in zip(
        metrics.splitlines(), (run_copy / "metrics.jsonl").read_text().splitlines(), strict=True
    ):
        assert json.loads(old)["validation/elbo"] == json.loads(new)["validation/elbo"]


def test_resume_trains_more_epochs_on_request(cli, run_copy):
    done = cli("resume", run_copy, "--epochs", 3)
    assert done.code == 0, done.err
    assert "epoch 3/3" in done.out
    assert "epoch 2/3" not in done.out
    assert status(run_copy) == {"state": "completed", "epoch": 3, "step": 9}


def test_the_cosine_schedule_cannot_be_extended(cli, tiny, grey_file, here, snapshot, one_sentence):
    done = cli(
        "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", grey_file,
        "--schedule", "cosine", "--run-dir", "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    before = snapshot(here)
    done = cli("resume", "run", "--epochs", 9)
    assert done.code == 2
    one_sentence(done.err.removeprefix("Error: ").strip())
    assert "--epochs 9: the cosine schedule of run was laid out for 1 epochs" in done.err
    assert "train a new run" in done.err
    assert snapshot(here) == before


def test_changed_data_is_refused(cli, tiny, here, snapshot, one_sentence):
    x = np.random.RandomState(0).rand(20, 4, 4)
    np.save("x.npy", x)
    data = ("--dataset", "file", "--dataset.path", "x.npy")
    assert cli("train", *tiny, "--no-tensorboard", *data, "--run-dir", "run").code == 0
    x[7, 1, 1] += 0.001
    np.save("x.npy", x)
    before = snapshot(here)
    done = cli("resume", "run", "--epochs", 2)
    assert done.code == 3
    one_sentence(done.err.removeprefix("Error: ").strip())
    assert "run was trained on other data than dataset 'vaeflow/file' holds now" in done.err
    assert "restore the files, or train a new run" in done.err
    assert snapshot(here) == before


def test_a_locked_run_is_refused(cli, run_copy, snapshot, one_sentence):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX);"
            "print('held', flush=True); sys.stdin.read()",
            str(run_copy / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        before = snapshot(run_copy)
        done = cli("resume", run_copy, "--epochs", 3)
        assert done.code == 7
        one_sentence(done.err.removeprefix("Error: ").strip())
        assert "is being written by another process (pid " in done.err
        assert snapshot(run_copy) == before
    finally:
        holder.kill()
        holder.communicate()
