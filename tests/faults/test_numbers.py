"""Numbers that are not finite, wherever they come from: nothing changes, and the place is told."""

import math
import re

import pytest
import torch
from small_vae import SHAPE, images
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import NonFiniteError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.priors.normal import Normal
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.finite import Finite
from vaeflow.training.notes import Notes

AT = 6  # the step that is spoiled, the second of the second epoch
FACTORS = (math.nan, math.inf, 1e25)


class Spoiler:
    """Multiplies values by a factor in the step AT, and what goes back by another."""

    def __init__(self):
        self.trainer = None

    @property
    def now(self):
        return self.trainer is not None and self.trainer.progress.step + 1 == AT

    def forth(self, value, factor):
        return value * factor if self.now and value.requires_grad else value

    def back(self, value, factor):
        if value.requires_grad:
            value.register_hook(lambda g: torch.full_like(g, factor) if self.now else None)
        return value


# Where a number is spoiled -> what the message begins with.
PLACES = {
    "features": "the draw z of posterior Spoiled|the gradient of|log q0|log p",
    "z": "the draw z of posterior Spoiled",
    "log_det": r"log\|det\| of posterior Spoiled",
    "log_pz": r"log p\(z\) of prior Spoiled",
    "log_px": r"log p\(x\|z\) of likelihood Spoiled",
    "objective": "the value of objective Spoiled",
    "gradient of z": "the gradient of posterior Spoiled in head",
    "gradient of the output": "the gradient of decoder MLP in layers",
    "gradient of the features": "the gradient of encoder MLP in layers",
}


def make(place, factor, *, noted=False, optimizer="adam", **settings):
    """Return a trainer, one number of whose step AT is spoiled."""
    spoiler = Spoiler()

    def forth(name, value):
        return spoiler.forth(value, factor) if name == place else value

    class SpoiledPosterior(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            self.head = nn.Linear(features, 2 * latent)

        def forward(self, h):
            if place == "gradient of the features":
                h = spoiler.back(h * 1, factor)
            loc, log_variance = self.head(forth("features", h)).chunk(2, -1)

            def bend(z):
                z = forth("z", z)
                if place == "gradient of z":
                    z = spoiler.back(z * 1, factor)
                return z, forth("log_det", 0 * z.sum(-1) + 1)

            return Flow(DiagonalNormal(loc, log_variance), [bend])

    class SpoiledPrior(Normal):
        def forward(self, infer):
            p = super().forward(infer)

            class Law(DiagonalNormal):
                def log_prob(self, z):
                    return forth("log_pz", super().log_prob(z))

            return Law(p.loc, p.log_scale)

    class SpoiledLikelihood(Gaussian):
        def forward(self, output):
            if place == "gradient of the output":
                output = spoiler.back(output * 1, factor)
            p = super().forward(output)
            scored = p.log_prob
            p.log_prob = lambda x: forth("log_px", scored(x))
            return p

    class SpoiledObjective(ELBO):
        def __call__(self, terms, beta):
            return forth("objective", super().__call__(terms, beta))

    for made in (SpoiledPosterior, SpoiledPrior, SpoiledLikelihood, SpoiledObjective):
        made.__name__ = "Spoiled"
    torch.manual_seed(0)
    likelihood = SpoiledLikelihood(SHAPE)
    vae = VAE(
        Encoder(SHAPE, hidden=(16,)),
        SpoiledPosterior(3, 16),
        SpoiledPrior(3, SHAPE),
        Decoder(3, likelihood.output_shape, hidden=(16,)),
        likelihood,
    )
    t = prepare_trainer(
        vae,
        images(40),
        objective=SpoiledObjective(),
        settings=Settings(
            epochs=3, batch_size=10, device="cpu", optimizer=optimizer, checkpoint_seconds=0,
            **settings,
        ),
    )  # fmt: skip
    if noted:
        t.finite.notes = Notes(torch.device("cpu"), 10, t.settings.skips)
        t.eager.turned_off_by(t.finite.notes.off)
    spoiler.trainer = t
    return t


def held(t):
    """Return the weights and moments as they are."""
    state = [v for s in t.eager.optimizer.state.values() for v in s.values()]
    return [v.detach().clone() for v in (*t.model.parameters(), *state)]


@pytest.mark.parametrize("noted", [False, True])
def test_a_step_that_is_not_finite_changes_nothing_and_tells_its_place(
    noted, tmp_path, amount, counted, one_sentence
):
    optimizers = ("adam", "rmsprop", "adamw", "adamax")[: amount(1, 4)]
    factors = FACTORS[:: amount(2, 1)]
    cases = 0
    for place, begins in PLACES.items():
        for factor in factors:
            if factor == 1e25 and not place.startswith("gradient"):
                continue  # a large term is a number like others
            for optimizer in optimizers:
                t = make(place, factor, noted=noted, optimizer=optimizer)
                store = CheckpointStore(tmp_path / f"{cases}")
                before = []

                def look(t=t, before=before):
                    if t.progress.step == AT - 1:
                        before.extend(held(t))
                    return False

                with pytest.raises(NonFiniteError) as caught:
                    t.run(store=store, stop=look)
                error = caught.value.written
                one_sentence(error)
                assert re.match(begins, error), (place, error)
                assert f" at step {AT}, on training examples " in error
                assert "--lr" not in error
                assert error.endswith("; checkpoints before it are kept")
                assert before
                assert all(map(torch.equal, held(t), before)), (place, factor)
                kept = store.latest()
                assert kept.step == 4
                for group in ("model", "optimizer"):
                    assert all(v.isfinite().all() for v in kept.tensors[group].values())
                cases += 1
    counted("step that is not finite", cases)


@pytest.mark.parametrize("noted", [False, True])
def test_a_skipped_step_that_is_not_finite_changes_nothing(noted, counted):
    cases = 0
    for place in PLACES:
        for factor in FACTORS[:2]:
            t = make(place, factor, noted=noted, on_nonfinite="skip:1")
            t.run()
            assert t.progress.skipped == 1, place
            assert all(v.isfinite().all() for v in held(t))
            cases += 1
    counted("step that is not finite", cases)


def test_a_rate_that_is_too_high_is_named_as_such(counted, one_sentence):
    t = make("nowhere", 1.0, lr=1e30)
    with pytest.raises(NonFiniteError) as caught:
        t.run()
    one_sentence(caught.value.written)
    assert ": lower --lr (it is 1e+30)" in caught.value.written
    counted("step that is not finite", 1)


def test_a_moment_that_is_not_finite_is_never_saved(tmp_path, one_sentence):
    t, store = make("nowhere", 1.0), CheckpointStore(tmp_path / "c")

    def spoil(*_):
        if t.progress.step == 5:
            t.eager.optimizer.state[t.model.decoder.layers[0].weight]["exp_avg_sq"][0, 0] = math.inf

    t.eager.optimizer.register_step_post_hook(spoil)
    with pytest.raises(NonFiniteError, match=r"exp_avg_sq of decoder MLP in layers.0.weight") as c:
        t.run(store=store)
    one_sentence(c.value.written)
    assert store.latest().step == 4


def test_without_the_check_the_weights_are_spoiled(monkeypatch):
    """Mutant: the tests above see the check removed."""
    monkeypatch.setattr(Finite, "step", lambda self, seen: True)
    monkeypatch.setattr(Finite, "weights", lambda self: None)
    monkeypatch.setattr(Finite, "terms", lambda self, means, where: None)
    t = make("gradient of z", math.nan)
    t.run()
    assert not all(v.isfinite().all() for v in held(t))
