"""Trainings that stop where a loss, a gradient, a term or a weight is not finite."""

import math
import re

import pytest
import torch
from small_vae import SHAPE, images, model
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import NonFiniteError
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.fit import fit
from vaeflow.training.notes import Notes


class Exploding(Posterior):
    """Finite on the first batch, infinite later."""

    def __init__(self, latent, features, *, after):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.calls = 0
        self.after = after

    def forward(self, h):
        self.calls += self.training
        loc, log_variance = self.head(h).chunk(2, -1)
        if self.calls > self.after:
            loc = loc * float("inf")
        return Flow(DiagonalNormal(loc, log_variance), [])


def test_an_infinite_loss_stops_the_run_and_leaves_the_older_checkpoint(tmp_path):
    settings = Settings(epochs=5, batch_size=20, checkpoint_seconds=0, device="cpu")
    store = CheckpointStore(tmp_path / "c")
    trainer = prepare_trainer(
        model(Exploding, after=6), images(50), binarization="dynamic", settings=settings
    )
    with pytest.raises(
        NonFiniteError,
        match=r"^the draw z of posterior Exploding is not finite at step 5, on training examples "
        r"[\d, ]+ and 15 more: correct that part, or tell its authors; checkpoints before",
    ):
        trainer.run(store=store)
    # Two of the calls in training are the first pass; the checkpoint is that of the epoch before.
    kept = store.latest()
    assert kept.step == 3
    assert all(torch.isfinite(v).all() for v in kept.tensors["model"].values())


def test_an_infinite_validation_bound_stops_the_run():
    vae = model(likelihood=Gaussian(SHAPE))
    with pytest.raises(NonFiniteError, match="on the validation data"):
        fit(vae, images(20), images(5) * 3e38, epochs=1, device="cpu")


def test_a_weight_that_becomes_infinite_is_named():
    settings = {"epochs": 1, "optimizer": "rmsprop", "lr": 1e38, "eps": 1e-30, "device": "cpu"}
    with pytest.raises(NonFiniteError, match=r"encoder MLP has a weight in layers\.0\.weight that"):
        fit(model(), images(20), binarization="dynamic", **settings)


NAMES = [name for name, _ in model().named_parameters()]
SETTINGS = {"epochs": 2, "batch_size": 10, "device": "cpu", "lr": 1e-2}


class Spoiled:
    """A trainer in whose third step the gradient of one parameter is spoiled."""

    def __init__(self, name, factor, *, step=3, data=None, **settings):
        self.model = model()
        self.steps = 0
        self.spoils_at, self.factor = step, factor
        parameter = dict(self.model.named_parameters())[name]
        parameter.register_hook(self.spoil)
        self.trainer = prepare_trainer(
            self.model,
            images(40) if data is None else data,
            binarization="dynamic" if data is None else "none",
            settings=Settings(**{**SETTINGS, **settings}),
        )
        self.before = []
        self.trainer.eager.optimizer.register_step_post_hook(self.record)

    def spoil(self, gradient):
        self.steps += 1
        return torch.full_like(gradient, self.factor) if self.steps == self.spoils_at else None

    def record(self, *_):
        # torch runs a hook twice where a step calls that of a base class with hooks of its own.
        if len(self.before) < self.steps:
            self.before.append(self.weights())

    def weights(self):
        return {k: v.detach().clone() for k, v in self.model.named_parameters()}

    def error(self, **options):
        with pytest.raises(NonFiniteError) as caught:
            self.trainer.run(**options)
        return caught.value.written


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_alone_that_is_not_finite_stops_before_the_update(name, factor, one_sentence):
    spoiled = Spoiled(name, factor)
    error = spoiled.error()
    kind, _, inner = name.partition(".")
    one_sentence(error)
    assert error.startswith(f"the gradient of {kind} ")
    seen = "NaN where the loss is finite" if math.isnan(factor) else "infinite, too large for a sum"
    assert f" in {inner} is {seen}" in error
    assert " at step 3, on training examples " in error
    assert len(spoiled.before) == 2
    for key, value in spoiled.before[-1].items():
        assert torch.equal(spoiled.weights()[key], value)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "rmsprop"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_whose_square_is_infinite_stops_before_the_update(clip, optimizer):
    spoiled = Spoiled("decoder.layers.2.bias", 1e25, clip=clip, optimizer=optimizer)
    error = spoiled.error()
    assert "the gradient of decoder MLP in layers.2.bias reaches 1e+25, too large for a " in error
    assert "sum of squares in float32, at step 3, on training examples " in error
    assert "--clip" not in error  # it divides by the norm, which is infinite
    for state in spoiled.trainer.eager.optimizer.state.values():
        assert all(torch.isfinite(value).all() for value in state.values())


def test_the_part_nearest_to_the_loss_is_named():
    """A fault of the posterior's draw spoils the posterior and the encoder, not the decoder."""

    class Torn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.nan

    class Faulty(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            self.head = nn.Linear(features, 2 * latent)

        def forward(self, h):
            loc, log_variance = self.head(h).chunk(2, -1)
            return DiagonalNormal(Torn.apply(loc), log_variance)

    with pytest.raises(NonFiniteError) as caught:
        fit(model(Faulty), images(20), binarization="dynamic", epochs=1, device="cpu")
    assert str(caught.value) == (
        "the gradient of posterior Faulty in head.bias is NaN where the loss is finite, at step 1, "
        "on training examples 0, 1, 2, 3, 4 and 15 more: correct a derivative of that part, or of "
        "what is computed from it, which torch.autograd.set_detect_anomaly(True) names"
    )


def test_nothing_is_advised_that_is_set_or_cannot_help():
    name = NAMES[-1]
    assert "--lr" not in Spoiled(name, math.nan).error()  # no weight has grown
    grown = {"step": 5, "lr": 0.3}
    error = Spoiled(name, math.nan, **grown).error()
    assert re.search(
        r", with weights of norm [\d.]+, which was [\d.]+ at the start: lower --lr", error
    )
    assert ": lower --lr (it is 0.3), set --clip, or correct" in error
    clipped = Spoiled(name, math.nan, clip=2.0, **grown).error()
    assert ": lower --lr (it is 0.3), or correct" in clipped

    wide = model(likelihood=Gaussian(SHAPE))
    with pytest.raises(NonFiniteError) as caught:
        fit(wide, 1e20 * images(20), epochs=1, device="cpu")
    assert caught.value.written.endswith(
        "is not finite at step 1, on training examples 0, 1, 2, 3, 4 and 15 more: bring the data, "
        "in "
        f"[{1e20 * images(20).min():g}, {1e20 * images(20).max():g}], nearer to unit scale"
    )


def test_checkpoints_are_told_of_where_there_are_any(tmp_path):
    kept = "; checkpoints before it are kept"
    options = {"checkpoint_seconds": 0}
    first = Spoiled(NAMES[0], math.nan, **options)
    assert kept not in first.error(store=CheckpointStore(tmp_path / "none"))
    later = Spoiled(NAMES[0], math.nan, step=6, **options)
    assert later.error(store=CheckpointStore(tmp_path / "one")).endswith(kept)


def note(trainer):
    """Let a trainer note what is not finite, as on a device that is not to be waited for."""
    trainer.finite.notes = Notes(
        torch.device("cpu"), trainer.settings.batch_size, trainer.settings.skips
    )
    trainer.eager.turned_off_by(trainer.finite.notes.off)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "rmsprop"])
@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e25])
def test_a_device_notes_the_step_and_takes_no_further_one(factor, optimizer):
    """Where nothing may wait for the device, the epoch's end tells; here it is the CPU's."""
    name = "decoder.layers.2.bias"
    spoiled = Spoiled(name, factor, optimizer=optimizer)
    note(spoiled.trainer)
    error = spoiled.error()
    seen = {1e25: "is infinite,", math.inf: "is infinite,", math.nan: "is NaN where"}[factor]
    assert f"the gradient of decoder MLP in layers.2.bias {seen}" in error
    assert " at step 3, on training examples " in error
    assert len(spoiled.before) == 4  # the epoch's steps
    for key, value in spoiled.before[1].items():
        assert torch.equal(spoiled.weights()[key], value)
    assert not spoiled.trainer.progress.epoch


def test_a_device_names_the_term_and_the_step(tmp_path):
    settings = Settings(epochs=5, batch_size=20, checkpoint_seconds=0, device="cpu")
    store = CheckpointStore(tmp_path / "c")
    vae = model(Exploding, after=6)
    trainer = prepare_trainer(vae, images(50), binarization="dynamic", settings=settings)
    note(trainer)
    told = r"^the draw z of posterior Exploding is not finite at step 5, on training examples "
    with pytest.raises(NonFiniteError, match=told):
        trainer.run(store=store)
    assert store.latest().step == 3
    assert all(torch.isfinite(p).all() for p in vae.parameters())


def test_a_stopped_run_saves_no_step_that_a_device_has_lost(tmp_path):
    spoiled = Spoiled(NAMES[0], math.nan)
    note(spoiled.trainer)
    store = CheckpointStore(tmp_path / "c")
    error = spoiled.error(store=store, stop=lambda: spoiled.trainer.progress.step == 4)
    assert "at step 3" in error
    assert store.latest() is None
