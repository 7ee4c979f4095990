"""Kills within an epoch that takes long: what is lost is the time since the last checkpoint."""

import hashlib
import random
import time

import numpy as np
import torch
from forks import say
from small_vae import images, model

from vaeflow.config.settings import Settings
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.saver import Saver

STEPS = 60  # in the one epoch


class Noisy(Identity):
    """Draws from every global generator."""

    def forward(self, h):
        return super().forward(h + 0.1 * (random.random() + np.random.randn()))


def train(folder, *, pause=0.0, within=0.1):
    """Train for one epoch; say each step, and return the hash of the weights and the record."""
    Saver.within = within
    settings = Settings(epochs=1, batch_size=2, device="cpu", checkpoint_seconds=0)
    t = prepare_trainer(
        model(Noisy), images(2 * STEPS), images(10, 1), binarization="dynamic", settings=settings
    )
    store = CheckpointStore(folder)
    begun = 0
    if (found := store.latest()) is not None:
        t.restore(found)
        begun = t.progress.step

    def watch():
        if pause:
            say(t.progress.step)
            time.sleep(pause)
        return False

    (record,) = t.run(store=store, stop=watch).records
    weights = hashlib.sha256()
    for name, value in sorted(t.model.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    told = {k: v for k, v in record.items() if k not in ("seconds", "images_per_second")}
    return begun, weights.hexdigest(), told


def test_a_kill_within_an_epoch_loses_no_more_than_the_time_since_the_last_save(
    fork, tmp_path, amount, counted
):
    torch.manual_seed(0)
    _, *expected = fork(train, tmp_path / "whole").end().value
    kills = amount(2, 12)
    lost = silent = 0
    for i in range(kills):
        folder, at = tmp_path / f"{i}", 20 + 3 * i
        child = fork(lambda folder=folder: train(folder, pause=0.02))
        while child.hear() < at:
            pass
        child.kill()
        begun, *seen = fork(train, folder).end().value
        assert at - begun < 10, f"killed at step {at}, and step {begun} is the last that is saved"
        lost += begun == 0  # the epoch began anew
        silent += seen != expected
    counted("kill within a long epoch", kills, lost, silent)
