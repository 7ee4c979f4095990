"""Who reads a run while it saves without a pause gets a whole checkpoint, and no error."""

import logging
import random
import time

import pytest
import torch
from forks import say
from test_saves import save, tensors

from vaeflow.errors import CheckpointError
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.checkpoints import store as stores


def save_without_a_pause(root):
    store = CheckpointStore(root)
    for step in range(1, 1_000_000):
        save(store, step // 2 + 1)  # each step twice
        if step == 3:
            say("saving")


@pytest.fixture
def saving(tmp_path, fork):
    child = fork(save_without_a_pause, tmp_path / "c")
    assert child.hear() == "saving"
    return tmp_path / "c"


@pytest.fixture
def slow(monkeypatch):
    """Readers that dawdle between looking for a checkpoint and reading it; return what they met."""
    real, met, draw = stores.read, [], random.Random(0)

    def read(path, *args, **more):
        time.sleep(draw.uniform(0, 0.04))
        try:
            return real(path, *args, **more)
        except CheckpointError as error:
            met.append(error)
            raise

    monkeypatch.setattr(stores, "read", read)
    return met


def test_a_reader_beside_nonstop_saves_gets_a_whole_checkpoint_and_no_error(
    saving, slow, amount, counted, caplog
):
    before, cases, wrong = 0, amount(40, 200), 0
    with caplog.at_level(logging.WARNING, "vaeflow"):
        for _ in range(cases):
            found = CheckpointStore(saving).latest()
            right = tensors(found.step)["model"]["w"]
            wrong += found.step < before or not torch.equal(found.tensors["model"]["w"], right)
            before = found.step
    assert slow, "nothing was removed while it was read"
    assert not caplog.records
    counted("reads beside nonstop saves", cases, silent=wrong)


def test_a_reader_that_does_not_try_again_is_seen_to_fail(saving, slow, monkeypatch):
    """Mutant: one look must do."""
    monkeypatch.setattr(stores, "_TRIES", 1)
    store = CheckpointStore(saving)
    with pytest.raises(CheckpointError, match="changes faster"):
        any(store.latest() is None for _ in range(200))


def test_a_reader_tells_of_damage_that_stays_and_of_changes_that_do_not_end(tmp_path, monkeypatch):
    root = tmp_path / "c"
    path = save(CheckpointStore(root), 1)
    (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        CheckpointStore(root).latest()
    looks = iter(range(1000))
    monkeypatch.setattr(stores, "_look", lambda path: ((str(next(looks)), 0, 0, 0),))
    with pytest.raises(CheckpointError, match="faster than it can be read: try again"):
        CheckpointStore(root).latest()
