"""Trainings that skip steps which are not finite, as --on-nonfinite skip:N asks for."""

import logging
import math
import re

import pytest
import torch
from graph_stand_in import Again
from small_vae import SHAPE, images, model

from vaeflow.config.settings import Settings
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.training import prepare_trainer
from vaeflow.training.acceleration.captured import Captured
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.fit import fit
from vaeflow.training.notes import Notes

OPTIMIZERS = ("adam", "adamw", "adamax", "rmsprop")
TIMES = ("seconds", "images_per_second")


def trainer(spoil=(), *, noted=False, captured=False, likelihood=None, **options):
    """Return a trainer whose gradients are NaN in the steps `spoil`, of four in an epoch."""
    settings = {"epochs": 3, "batch_size": 10, "device": "cpu", "lr": 1e-2, **options}
    vae = model(likelihood=likelihood)
    held_out = images(8, 1)
    how = "none" if likelihood else "dynamic"
    made = prepare_trainer(
        vae, images(38), held_out, binarization=how, settings=Settings(**settings)
    )

    def hook(gradient):
        return gradient * math.nan if made.progress.step + 1 in spoil else None

    vae.decoder.layers[0].bias.register_hook(hook)
    if noted:
        made.finite.notes = Notes(torch.device("cpu"), 10, made.settings.skips)
        made.eager.turned_off_by(made.finite.notes.off)
    if captured:
        made.step = Captured(made.eager, 10, made.blame, Again())
    return made


def outcome(t, **options):
    """Train; return the weights, the moments and the records."""
    records = t.run(**options).records
    state = t.eager.optimizer.state_dict()["state"]
    moments = {f"{i}/{k}": v for i, named in state.items() for k, v in named.items()}
    weights = {k: v.clone() for k, v in t.model.state_dict().items()}
    return weights | moments, [{k: v for k, v in r.items() if k not in TIMES} for r in records]


def assert_equal(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("way", [{}, {"noted": True}, {"noted": True, "captured": True}])
def test_a_skipped_step_changes_nothing_and_the_training_goes_on(way, optimizer):
    options = {"on_nonfinite": "skip:3", "optimizer": optimizer, **way}
    one = trainer({1, 6, 7}, **options)
    before = {}

    def watch(step):
        weights = {k: v.clone() for k, v in one.model.state_dict().items()}
        before[step] = weights
        return False

    one.run(stop=lambda: watch(one.progress.step))
    for step in range(11):
        same = all(torch.equal(v, before[step + 1][k]) for k, v in before[step].items())
        assert same == (step + 1 in {1, 6, 7}), step
    assert one.progress.step == 12
    assert one.progress.skipped == 3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_device_that_nobody_waits_for_skips_as_the_cpu_does(optimizer):
    options = {"spoil": {1, 6, 7}, "on_nonfinite": "skip:3", "optimizer": optimizer}
    alone = outcome(trainer(**options))
    assert_equal(outcome(trainer(noted=True, **options)), alone)
    assert_equal(outcome(trainer(noted=True, captured=True, **options)), alone)


def test_a_compiled_step_is_skipped_as_an_eager_one(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda eager, **options: eager)
    options = {"spoil": {1, 6, 7}, "on_nonfinite": "skip:3"}
    assert_equal(outcome(trainer(compile=True, **options)), outcome(trainer(**options)))


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize("stop_at", [3, 6, 7, 8])
def test_a_training_that_skips_is_resumed_exactly(tmp_path, noted, stop_at):
    options = {"spoil": {2, 6, 7}, "on_nonfinite": "skip:3", "noted": noted}
    whole = outcome(trainer(**options))
    first, store = trainer(**options), CheckpointStore(tmp_path / "c")
    stopped = outcome(first, store=store, stop=lambda: first.progress.step == stop_at)
    second = trainer(**options)
    second.restore(store.latest())
    assert second.progress.skipped == sum(step <= stop_at for step in (2, 6, 7))
    resumed = outcome(second)
    assert_equal((resumed[0], stopped[1] + resumed[1]), whole)


@pytest.mark.parametrize("noted", [False, True])
def test_one_more_than_may_be_skipped_stops(noted, one_sentence):
    one = trainer({2, 3, 6}, on_nonfinite="skip:2", noted=noted)
    with pytest.raises(NonFiniteError, match=r"at step 6, after 2 skipped steps, on tr") as caught:
        one.run()
    one_sentence(caught.value.written)
    assert "--on-nonfinite" not in caught.value.written


@pytest.mark.parametrize("noted", [False, True])
def test_every_skipped_step_is_logged_with_all_its_rows(noted, caplog):
    one = trainer({3, 6}, on_nonfinite="skip:2", noted=noted)
    with caplog.at_level(logging.WARNING, "vaeflow"):
        one.run()
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == 2
    for line, step, left in zip(lines, (3, 6), (1, 0), strict=True):
        assert f" at step {step}, " in line
        assert line.endswith(f"the step is skipped, and {left} more may be")
        told = re.search(r"training examples ([\d, ]+):", line).group(1)
        order = one.noise.order((step - 1) // 4, 38).split(10)[(step - 1) % 4]
        assert told == ", ".join(map(str, sorted(order.tolist())))


@pytest.mark.parametrize("noted", [False, True])
def test_a_single_bad_image_is_named_and_left_out_of_the_means(noted, caplog):
    clean = images(38)
    spoiled = clean.clone()
    spoiled[17] = 3e19  # its square is infinite

    def run(data, **options):
        settings = Settings(epochs=1, batch_size=10, device="cpu", lr=1e-30, eps=1.0, **options)
        t = prepare_trainer(model(likelihood=Gaussian(SHAPE)), data, settings=settings)
        if noted:
            t.finite.notes = Notes(torch.device("cpu"), 10, t.settings.skips)
            t.eager.turned_off_by(t.finite.notes.off)
        return t

    told = r"the draw z of posterior Identity is not finite at step \d, on training example 17: "
    with pytest.raises(NonFiniteError, match=told + "leave such steps out by --on-nonfinite skip"):
        run(spoiled).run()
    one = run(spoiled, on_nonfinite="skip:5")
    (record,) = one.run().records
    assert one.progress.skipped == 1
    order = one.noise.order(0, 38).split(10)
    left = torch.cat([batch for batch in order if 17 not in batch])
    assert len(left) < 38
    # At a standstill, the mean is that of the other images; their noise differs.
    (other,) = run(clean[left]).run().records
    assert record["train/log_px"] == pytest.approx(other["train/log_px"], rel=0.05)


def test_a_skipped_step_leaves_the_statistics_of_batches_alone():
    """An optimal σ is a running mean of squares, which an infinite one would spoil for ever."""
    data = images(40)
    data[5] = 3e19
    for noted in (False, True):
        likelihood = Gaussian(SHAPE, scale="optimal")
        settings = Settings(epochs=2, batch_size=10, device="cpu", on_nonfinite="skip:2")
        t = prepare_trainer(model(likelihood=likelihood), data, settings=settings)
        if noted:
            t.finite.notes = Notes(torch.device("cpu"), 10, 2)
            t.eager.turned_off_by(t.finite.notes.off)
        t.run()
        assert t.progress.skipped == 2
        assert torch.isfinite(likelihood.variance).all()
        assert likelihood.batches.item() == 6


def test_a_training_whose_every_step_is_skipped_says_so():
    with pytest.raises(NonFiniteError, match=r"every step of epoch 1 was skipped: "):
        trainer(set(range(1, 5)), on_nonfinite="skip:4").run()


@pytest.mark.parametrize("value", ["skip", "skip:0", "skip:-1", "go on", "skip:1.5", ""])
def test_another_value_is_refused(value):
    with pytest.raises(ConfigError, match="on-nonfinite"):
        fit(model(), images(20), on_nonfinite=value)
