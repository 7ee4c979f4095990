"""The captured step takes the eager one's steps: on CUDA by its graphs, elsewhere by a stand-in."""

from __future__ import annotations

import math

import pytest
import torch
from graph_stand_in import Again
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import NonFiniteError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.priors.normal import Normal
from vaeflow.plugins.loading import load_plugins
from vaeflow.training import prepare_trainer
from vaeflow.training.acceleration.captured import Captured
from vaeflow.training.notes import Notes

SHAPE = (1, 4, 4)
PARTS = load_plugins()
POSTERIORS = (
    "identity", "full-gaussian", "planar", "radial", "householder", "iaf", "realnvp", "spline",
    "mixture",
)  # fmt: skip
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def part(kind, name):
    return PARTS.require(kind, name).load()


def trainer(posterior="identity", objective="elbo", *, device="cpu", n=50, **settings):
    torch.manual_seed(0)
    make = posterior if isinstance(posterior, type) else part("posterior", posterior)
    vae = VAE(
        Encoder(SHAPE, hidden=(16,)),
        make(3, 16),
        Normal(3, SHAPE),
        Decoder(3, SHAPE, hidden=(16,)),
        Bernoulli(SHAPE),
    )
    x = torch.rand(n, *SHAPE)
    settings = {"batch_size": 10, "epochs": 3, "lr": 1e-2, "clip": 1.0, **settings}
    return prepare_trainer(
        vae,
        x,
        objective=part("objective", objective)(warmup=2.0),
        binarization="dynamic",
        settings=Settings(device=device, **settings),
    )


def outcome(trainer):
    fit = trainer.run()
    keys = [f"train/{t}" for t in ("elbo", "log_px", "log_pz", "log_q0", "log_det")]
    return [[r[k] for k in [*keys, "grad_norm"]] for r in fit.records], fit.best


def assert_close(one, other, tolerance):
    torch.testing.assert_close(torch.tensor(one[0]), torch.tensor(other[0]), **tolerance)
    torch.testing.assert_close(one[1], other[1], **tolerance)


@pytest.mark.parametrize("n", [50, 57])  # whole batches, and a smaller last one
def test_replayed_steps_have_the_records_of_eager_steps(n):
    plain, captured = trainer(n=n), trainer(n=n)
    again = Again()
    captured.step = Captured(captured.eager, 10, captured.blame, again)
    assert_close(outcome(captured), outcome(plain), {"rtol": 0, "atol": 0})
    assert again.rehearsals == 2
    assert again.repeats == 3 * (n // 10) - 3


def test_a_replayed_step_is_noted_where_its_gradient_is_not_finite():
    one = trainer()
    notes = one.finite.notes = Notes(torch.device("cpu"), 10)
    one.eager.turned_off_by(notes.off)
    one.step = Captured(one.eager, 10, one.blame, Again())
    seen = []

    def spoil(gradient):
        seen.append(None)
        return gradient * math.nan if len(seen) == 7 else None

    next(one.model.decoder.parameters()).register_hook(spoil)
    with pytest.raises(
        NonFiniteError, match=r"decoder MLP in layers\.0\.weight is NaN .* at step 7,"
    ):
        one.run()
    assert one.step.recorded
    assert all(torch.isfinite(p).all() for p in one.model.parameters())


class Counting(Posterior):
    """Fails where a graph is recorded, as a part does that waits for the device."""

    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)

    def forward(self, h):
        torch.rand(3)  # noise that a step taken again must not draw twice
        if Failing.recording:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return DiagonalNormal(*self.head(h).chunk(2, dim=-1))


class Failing(Again):
    recording = False

    def record(self, call):
        Failing.recording = True
        try:
            call()
        finally:
            Failing.recording = False


def test_a_step_that_cannot_be_captured_trains_eagerly_and_says_why(caplog):
    plain, captured = trainer(Counting), trainer(Counting)
    captured.step = Captured(captured.eager, 10, captured.blame, Failing())
    assert_close(outcome(captured), outcome(plain), {"rtol": 0, "atol": 0})
    (message,) = [r.getMessage() for r in caplog.records]
    assert message == (
        "the step is not captured as a CUDA graph: posterior Counting cannot be (RuntimeError: "
        "operation not permitted when stream is capturing more)"
    )


def test_a_step_on_the_cpu_is_not_captured():
    one = trainer()
    assert one.step is one.eager


@cuda
@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg", "stl"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_graph_repeats_the_eager_numbers(posterior, objective, caplog):
    """To 1e-4: the order of atomic sums is not that of another run."""
    one = trainer(posterior, objective, device="cuda")
    assert isinstance(one.step, Captured)
    seen = outcome(one)
    eager = outcome(trainer(posterior, objective, device="cuda", capture=False))
    assert_close(seen, eager, {"rtol": 1e-4, "atol": 1e-4})
    if "cannot be" not in caplog.text:
        assert one.step.recorded


@cuda
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "rmsprop"])
def test_a_graph_follows_the_learning_rate(optimizer):
    settings = {"optimizer": optimizer, "schedule": "exponential", "lr_gamma": 0.01}
    one = trainer(device="cuda", **settings)
    seen = outcome(one)
    assert one.step.recorded
    eager = outcome(trainer(device="cuda", capture=False, **settings))
    assert_close(seen, eager, {"rtol": 1e-4, "atol": 1e-4})


class Waiting(Posterior):
    """Reads a number off the device in each step."""

    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)

    def forward(self, h):
        loc, log_variance = self.head(h).chunk(2, dim=-1)
        return DiagonalNormal(loc, log_variance.clamp(max=max(1.0, loc.max().item())))


@cuda
def test_a_part_that_waits_for_the_device_trains_eagerly(caplog):
    one, eager = (trainer(Waiting, device="cuda", capture=wanted) for wanted in (True, False))
    assert_close(outcome(one), outcome(eager), {"rtol": 1e-4, "atol": 1e-4})
    assert "posterior Waiting cannot be" in caplog.text
