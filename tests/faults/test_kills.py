"""A training that is killed again and again ends with the bits of one that was not."""

import hashlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from small_vae import images, model

from vaeflow.cli import main
from vaeflow.config.settings import Settings
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.runs.directory import Run
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore

EPOCHS = 5
MEMORY = Path("/dev/shm")


def train(root):
    """Train, or go on, as a run does; return the SHA-256 of all tensors of the last checkpoint."""
    trainer = prepare_trainer(
        model(Planar, steps=2),
        images(30),
        images(10, 1),
        objective=ELBO(warmup=2.0),
        binarization="dynamic",
        settings=Settings(epochs=EPOCHS, batch_size=8, checkpoint_seconds=0, device="cpu"),
    )
    store = CheckpointStore(root)
    if found := store.latest():
        trainer.restore(found)
    trainer.run(store=store)
    return digest(store)


def digest(store):
    seen = hashlib.sha256()
    for group, named in sorted(store.latest().tensors.items()):
        for name, value in sorted(named.items()):
            seen.update(f"{group}/{name}".encode() + value.numpy().tobytes())
    return seen.hexdigest()


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path):
    """A directory on each of two file systems, where there are two."""
    if request.param == "disk":
        yield tmp_path
        return
    if not MEMORY.is_dir():
        pytest.skip("there is no /dev/shm")
    path = MEMORY / f"vaeflow-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def test_kills_at_any_time_lose_nothing_and_the_end_is_the_same(place, fork, amount, counted):
    """Each child trains until it is killed, at a moment that is drawn."""
    began = time.monotonic()
    right = fork(train, place / "whole").end().value
    length = time.monotonic() - began
    wanted, kills, lost, different, runs = amount(6, 100), 0, 0, 0, 0
    draw = random.Random(0)
    while kills < wanted:
        root, end, saved = place / f"run{runs}", None, 0
        runs += 1
        while end is None:
            child = fork(train, root)
            if kills < wanted:
                time.sleep(draw.uniform(0, length))
                child.kill()
            ended = child.end()
            assert ended.status in (0, -signal.SIGKILL), ended.output
            end = ended.value
            kills += ended.status != 0
            found = CheckpointStore(root).latest()
            step = found.step if found else 0
            lost += step < saved
            saved = step
        different += end != right
    counted("kills of a training at any time", kills, lost=lost, silent=different)


@pytest.fixture
def words(tiny, grey_file):
    return [
        "train", *tiny, "--dataset", "file", "--dataset.path", str(grey_file), "--no-tensorboard",
        "--epochs", "6", "--checkpoint-seconds", "0", "--run-dir",
    ]  # fmt: skip


def test_a_command_line_that_is_killed_is_resumed_to_the_same_end(
    tmp_path, fork, words, amount, counted
):
    began = time.monotonic()
    assert fork(main, [*words, str(tmp_path / "whole")]).end().status == 0
    length = time.monotonic() - began
    right, draw = _left(tmp_path / "whole"), random.Random(1)
    wanted, kills, different = amount(2, 20), 0, 0
    while kills < wanted:
        path, done = tmp_path / f"run{kills}", False
        while not done:
            line = ["resume", str(path)] if path.exists() else [*words, str(path)]
            child = fork(main, line)
            if kills < wanted:
                time.sleep(draw.uniform(0, length))
                child.kill()
            ended = child.end()
            assert ended.status in (0, -signal.SIGKILL), ended.output
            done = ended.status == 0
            kills += not done
        different += _left(path) != right
        assert not list(path.rglob(".*")), "leftovers of a kill were not swept"
    counted("kills of a command line", kills, silent=different)


def _left(path):
    run = Run(path)
    rows = [(row["epoch"], row["train/elbo"]) for row in run.metrics]
    return digest(run.store), rows, run.summary["nll"], run.status["state"]


def test_a_kill_between_the_making_of_a_run_and_its_first_save_can_be_repaired(
    tmp_path, fork, words, monkeypatch
):
    """The directory appears whole: the same command begins anew, or `resume` goes on."""

    def die(*given, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        assert fork(main, [*words, str(tmp_path / "run")]).end().status == -signal.SIGKILL
    assert not (tmp_path / "run").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "locked", die)
        assert fork(main, [*words, str(tmp_path / "run")]).end().status == -signal.SIGKILL
    ended = fork(main, ["resume", str(tmp_path / "run")]).end()
    assert ended.status == 0, ended.output


def test_a_run_is_complete_by_what_its_checkpoint_holds(tmp_path, fork, words):
    """With the last checkpoint damaged, `resume` trains what is missing, whatever the status."""
    path = tmp_path / "run"
    assert fork(main, [*words, str(path)]).end().status == 0
    right = _left(path)
    newest = max((path / "checkpoints").iterdir())
    (newest / "model.safetensors").write_bytes(b"")
    ended = fork(main, ["resume", str(path)]).end()
    assert ended.status == 0, ended.output
    assert _left(path) == right
    assert "nothing to do" in fork(main, ["resume", str(path)]).end().output
