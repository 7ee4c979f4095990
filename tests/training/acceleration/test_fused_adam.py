"""The fused Adam is torch's own, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.training.acceleration.fused_adam import FusedAdam
from vaeflow.training.optimizers import (
    load_optimizer_tensors,
    make_optimizer,
    make_schedule,
    optimizer_tensors,
)

PAIRS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(n, 3, generator=generator)) for n in (4, 5, 6)]


def advance(params, optimizer, step, without=()):
    generator = torch.Generator().manual_seed(step)
    for i, p in enumerate(params):
        gradient = torch.randn(p.shape, generator=generator)
        p.grad = None if i in without else gradient
    optimizer.step()


@pytest.mark.parametrize("name", PAIRS)
def test_it_steps_as_torch_does(name):
    settings = Settings(optimizer=name, lr=0.1, weight_decay=0.1, eps=1e-3)
    ours, theirs = parameters(), parameters()
    one = make_optimizer(ours, settings)
    assert isinstance(one, FusedAdam)
    other = PAIRS[name](theirs, lr=0.1, weight_decay=0.1, eps=1e-3, fused=True)
    for step in range(6):
        # A parameter without a gradient is left alone, and so is its count of steps.
        without = (1,) if step in (0, 3) else ()
        advance(ours, one, step, without)
        advance(theirs, other, step, without)
        assert all(map(torch.equal, ours, theirs)), step
    counts = [one.state[p]["step"].item() for p in ours]
    assert counts == [other.state[p]["step"].item() for p in theirs] == [6, 4, 6]


def test_its_state_goes_through_a_checkpoint():
    settings = Settings(lr=0.1)
    ours, twins = parameters(), parameters()
    names = ["a", "b", "c"]
    one, other = make_optimizer(ours, settings), make_optimizer(twins, settings)
    for step in range(3):
        advance(ours, one, step)
    advance(twins, other, 9)
    with torch.no_grad():
        for a, b in zip(ours, twins, strict=True):
            b.copy_(a)
    saved = {k: v.clone() for k, v in optimizer_tensors(one, names).items()}
    load_optimizer_tensors(other, names, saved)
    for step in range(3, 6):
        advance(ours, one, step)
        advance(twins, other, step)
        assert all(map(torch.equal, ours, twins)), step


def test_a_rate_that_is_a_tensor_follows_its_schedule():
    """As a CUDA graph needs it: what reads the tensor again sees the new rate."""
    params = parameters()
    settings = Settings(lr=0.1, schedule="exponential", lr_gamma=0.5)
    rate = torch.tensor(0.1)
    optimizer = FusedAdam(params, lr=rate, fused=True, capturable=True)
    schedule = make_schedule(optimizer, settings)
    for step, expected in enumerate((0.1, 0.05, 0.025)):
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate.item() == pytest.approx(expected)
        advance(params, optimizer, step)
        schedule.step()


def test_it_changes_nothing_while_it_is_told_of_infinity():
    ours, theirs = parameters(), parameters()
    one, other = (make_optimizer(p, Settings(lr=0.1)) for p in (ours, theirs))
    one.found_inf = torch.zeros(())
    for step in range(7):
        lost = step in (0, 3, 4)  # the first step is torch's own
        one.found_inf.fill_(float(lost))
        advance(ours, one, step)
        if not lost:
            advance(theirs, other, step)
        assert all(map(torch.equal, ours, theirs)), step
    saved = (optimizer_tensors(x, ["a", "b", "c"]) for x in (one, other))
    for a, b in zip(*(tensors.values() for tensors in saved), strict=True):
        assert torch.equal(a, b)
