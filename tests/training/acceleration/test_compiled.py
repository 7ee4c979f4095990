"""What changes a step's kernels leaves its numbers alone: a compiled model, bfloat16."""

from __future__ import annotations

import math
import shutil

import pytest
import torch

from vaeflow.config.settings import Settings
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError, NonFiniteError, PluginError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal
from vaeflow.training import prepare_trainer
from vaeflow.training.acceleration.compiled import Compiled

SHAPE = (1, 4, 4)
has_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def trainer(posterior=Planar, **settings):
    torch.manual_seed(0)
    vae = VAE(
        Encoder(SHAPE, hidden=(16,)),
        posterior(3, 16, **({"steps": 2} if posterior is Planar else {})),
        Normal(3, SHAPE),
        Decoder(3, SHAPE, hidden=(16,)),
        Bernoulli(SHAPE),
    )
    settings = {"batch_size": 10, "epochs": 2, "device": "cpu", **settings}
    return prepare_trainer(
        vae, torch.rand(27, *SHAPE), binarization="dynamic", settings=Settings(**settings)
    )


def figures(trainer):
    keys = ("train/elbo", "train/log_det", "train/log_q0", "grad_norm")
    return torch.tensor([[r[k] for k in keys] for r in trainer.run().records])


class Fails(Posterior):
    """Cannot be traced: torch's compiler refuses what `forward` does."""

    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.head = torch.nn.Linear(features, 2 * latent)

    def forward(self, h):
        if torch.compiler.is_compiling():
            raise RuntimeError("no such kernel")
        return DiagonalNormal(*self.head(h).chunk(2, dim=-1))


def test_a_model_that_cannot_be_compiled_trains_as_it_is_and_says_why(monkeypatch, caplog):
    def compiling(bound, **options):
        def call(x, beta):
            with monkeypatch.context() as patched:
                patched.setattr(torch.compiler, "is_compiling", lambda: True)
                return bound(x, beta)

        return call

    monkeypatch.setattr(torch, "compile", compiling)
    seen = figures(trainer(Fails, compile=True))
    assert torch.equal(seen, figures(trainer(Fails)))
    (message,) = [r.getMessage() for r in caplog.records]
    assert message == (
        "torch cannot compile the model, which trains as it is: RuntimeError: no such kernel"
    )


def test_only_whole_batches_are_compiled(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        torch, "compile", lambda bound, **options: lambda x, beta: sizes.append(len(x)) or 1
    )
    bound = Compiled(lambda x, beta: 2, 10)
    beta = torch.ones(())
    assert [bound(torch.zeros(n, 3), beta) for n in (10, 7, 10)] == [1, 2, 1]
    assert sizes == [10, 10]


def test_a_failing_part_is_not_taken_for_a_failing_compilation(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", lambda bound, **options: bound)
    one = trainer(compile=True)
    one.model.posterior.forward = lambda h: 1 / 0
    with pytest.raises(PluginError, match="posterior Planar failed at step 1"):
        one.run()
    assert "cannot compile" not in caplog.text


def test_bfloat16_is_near_float32_and_keeps_densities_in_it():
    full, half = trainer(), trainer(precision="bf16")
    a, b = figures(full), figures(half)
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)
    terms, value = half.eager.loss_module(half.data.train.x.round(), torch.ones(()))
    for term in (terms.log_px, terms.log_pz, terms.log_base, terms.log_det, value):
        assert term.dtype == torch.float32
    with torch.no_grad():  # it is the products that are rounded, and they alone
        x = half.data.train.x.round()
        with torch.autocast("cpu", torch.bfloat16):
            assert half.model.decoder(torch.randn(1, 27, 3)).dtype == torch.bfloat16
        assert half.model(x).log_px.dtype == torch.float32


def test_tf32_needs_cuda():
    with pytest.raises(ConfigError, match="only CUDA devices have TensorFloat-32"):
        trainer(precision="tf32")


class Lost(Posterior):
    """A density that is NaN from the third step on."""

    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.head = torch.nn.Linear(features, 2 * latent)
        self.calls = -2  # the first pass makes two calls in training

    def forward(self, h):
        self.calls += self.training and torch.is_grad_enabled()
        loc, log_variance = self.head(h).chunk(2, dim=-1)
        return DiagonalNormal(loc * (math.nan if self.calls == 3 else 1.0), log_variance)


def test_an_infinite_loss_moves_no_weight():
    one = trainer(Lost)
    weights = []
    taken = one.step

    def take(*args, **options):
        weights.append([p.detach().clone() for p in one.model.parameters()])
        return taken(*args, **options)

    one.step = take
    with pytest.raises(NonFiniteError, match="step 3"):
        one.run()
    assert len(weights) == 3
    assert all(map(torch.equal, one.model.parameters(), weights[-1]))
    assert not all(map(torch.equal, weights[1], weights[2]))
