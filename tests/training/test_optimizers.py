"""Optimizers and schedules by their settings."""

import pytest
import torch
from small_vae import model, run
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.training.optimizers import make_optimizer, make_schedule


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential", "milestones"])
def test_a_replayed_schedule_has_the_same_rates(schedule):
    settings = Settings(schedule=schedule, epochs=10, lr_milestones=(3, 6))
    rates = []
    parameters = [nn.Parameter(torch.ones(2))]
    optimizer = make_optimizer(parameters, settings)
    stepped = make_schedule(optimizer, settings)
    for epoch in range(10):
        replayed = make_schedule(make_optimizer(parameters, settings), settings, epoch)
        assert replayed.get_last_lr() == stepped.get_last_lr()
        rates.append(stepped.get_last_lr()[0])
        optimizer.step()
        stepped.step()
    assert (len(set(rates)) > 1) == (schedule != "constant")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "rmsprop"])
def test_every_optimizer_trains(optimizer):
    before = model().state_dict()
    vae = model()
    run(vae, optimizer=optimizer, epochs=1, eps=1e-6)
    assert any(not torch.equal(before[k], v) for k, v in vae.state_dict().items())
