"""Checkpoints within an epoch."""

import pytest
import torch
from small_vae import images, model

from vaeflow.config.settings import Settings
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore, read
from vaeflow.training.saver import Saver

TIMES = ("seconds", "images_per_second")


def trainer(**settings):
    settings = {"epochs": 2, "batch_size": 4, "device": "cpu", "clip": 1.0, **settings}
    return prepare_trainer(
        model(), images(38), images(8, 1), binarization="dynamic", settings=Settings(**settings)
    )


class Store(CheckpointStore):
    """Notes where each checkpoint falls, and keeps all."""

    def __init__(self, root):
        super().__init__(root, keep=100)
        self.steps = []

    def save(self, step, tensors, state):
        self.steps.append((state["progress"]["epoch"], state["progress"]["batch"]))
        return super().save(step, tensors, state)


def last(t, records):
    weights = {k: v.clone() for k, v in t.model.state_dict().items()}
    return weights, [{k: v for k, v in r.items() if k not in TIMES} for r in records]


def test_an_epoch_is_saved_within_and_resumed_from_there_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(Saver, "within", 0.0)
    whole = trainer()
    weights, records = last(whole, whole.run().records)
    store = Store(tmp_path / "c")
    saved = trainer(checkpoint_seconds=0)
    watched = last(saved, saved.run(store=store).records)
    assert watched[1] == records  # to save changes nothing
    within = [(epoch, batch) for epoch in (0, 1) for batch in range(10)]
    assert sorted(set(store.steps)) == [*within, (2, 0)]
    for epoch, batch in ((0, 1), (0, 7), (1, 4)):
        second = trainer()
        second.restore(read(store.root / f"step-{10 * epoch + batch:08d}"))
        resumed, more = last(second, second.run().records)
        assert more == records[epoch:]
        assert all(torch.equal(value, weights[name]) for name, value in resumed.items())


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 10), (25.0, 25), (1e9, None)])
def test_saves_are_ten_seconds_apart_within_an_epoch_or_more(seconds, steps, tmp_path, monkeypatch):
    """The host's clock is moved on by a second at each step."""
    now = [0.0]
    monkeypatch.setattr("vaeflow.training.progress.time.monotonic", lambda: now[0])
    t = trainer(batch_size=1, epochs=1, checkpoint_seconds=seconds)
    step = t.step

    def slow(index, beta):
        now[0] += 1.0
        return step(index, beta)

    t.step = slow
    store = Store(tmp_path / "c")
    t.run(store=store)
    expected = [] if steps is None else [(0, b) for b in range(steps, 38, steps)]
    assert store.steps == [*expected, (1, 0)]


def test_nothing_is_due_without_a_store():
    saver = Saver(lambda store: None, None, 0.0)
    saver.within = 0.0
    assert not saver.due
    assert not saver.due_within
