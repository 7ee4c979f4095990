"""What fails in a training is named: the part, who brought it, and where."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

import vaeflow
from vaeflow.config.settings import Settings
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError, PluginError
from vaeflow.parts.abstract import Decoder, Posterior
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.decoders.mlp import MLP as Mlp
from vaeflow.parts.encoders.mlp import MLP
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal as NormalPrior
from vaeflow.runtime.blame import Blame
from vaeflow.training import prepare_trainer


class Bomb(nn.Module):
    """Passes its argument on until the fuse is burnt, in training and in evaluation apart."""

    def __init__(self, training=10**9, evaluating=10**9, error=RuntimeError("boom")):  # noqa: B008
        super().__init__()
        self.left = {True: training, False: evaluating}
        self.error = error

    def forward(self, x):
        self.left[self.training] -= 1
        if self.left[self.training] < 0:
            raise self.error
        return x


class Fused(Posterior):
    def __init__(self, latent, features, bomb):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.bomb = bomb

    def forward(self, h):
        return DiagonalNormal(*self.bomb(self.head(h)).chunk(2, -1))


class Delayed(Posterior):
    """Fails when its distribution is drawn, after its own forward."""

    def __init__(self, latent, features, bomb):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.bomb = bomb

    def forward(self, h):
        loc, scale = self.head(h).chunk(2, -1)
        return Late(loc, scale.exp(), self.bomb)


class Late(Independent):
    def __init__(self, loc, scale, bomb):
        super().__init__(Normal(loc, scale), 1)
        self.bomb = bomb

    def rsample(self, sample_shape=()):
        return self.bomb(super().rsample(sample_shape))


class FusedDecoder(Decoder):
    def __init__(self, latent, output_shape, bomb):
        super().__init__(latent, output_shape)
        self.net = nn.Sequential(Mlp(latent, output_shape, hidden=(4,)), bomb)

    def forward(self, z):
        return self.net(z)


@pytest.fixture(scope="module")
def data():
    splits = Digits().load()
    return splits.train[:40].round(), splits.validation[:20].round()


def trainer(
    data, *, encoder=None, posterior=None, prior=None, decoder=None, objective=None, **more
):
    shape = (1, 8, 8)
    encoder, likelihood = encoder or MLP(shape, hidden=(4,)), Bernoulli(shape)
    model = vaeflow.VAE(
        encoder=encoder,
        posterior=posterior or Fused(3, encoder.features, Bomb()),
        prior=prior or NormalPrior(3, shape),
        decoder=decoder or Mlp(3, shape, hidden=(4,)),
        likelihood=likelihood,
    )
    settings = Settings(batch_size=10, epochs=3, device="cpu")
    return prepare_trainer(model, *data, objective=objective, settings=settings, **more)


@pytest.mark.parametrize("kind", [Fused, Delayed])
def test_a_posterior_that_fails_in_a_step_is_named(data, kind, one_sentence):
    # The first pass takes two calls in training.
    with pytest.raises(PluginError) as caught:
        trainer(data, posterior=kind(3, 4, Bomb(training=2 + 5))).run()
    message = str(caught.value)
    one_sentence(message)
    assert message == (
        f"posterior {kind.__name__} failed at step 6 (RuntimeError: boom): --debug says where"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_decoder_that_fails_in_validation_is_named_with_its_owner(data):
    broken = FusedDecoder(3, (1, 8, 8), Bomb(evaluating=2))  # the first pass takes one
    owners = {"decoder": "decoder 'fused' from vaeflow-x 0.3"}
    with pytest.raises(PluginError) as caught:
        trainer(data, decoder=broken, owners=owners).run()
    assert str(caught.value).startswith(
        "decoder 'fused' from vaeflow-x 0.3 failed on the validation data after epoch 2 (Runtime"
    )


def test_the_innermost_part_is_named(data):
    """A prior made of posteriors calls the encoder; what fails there is the encoder's."""

    class Broken(MLP):
        def forward(self, x):
            if len(x) == 1:
                raise RuntimeError("one is not enough")
            return super().forward(x)

    class OfPosteriors(NormalPrior):
        def forward(self, infer):
            if self.training:
                infer(torch.zeros(1, 1, 8, 8))
            return super().forward(infer)

    with pytest.raises(PluginError, match="encoder Broken failed on a first batch"):
        trainer(data, encoder=Broken((1, 8, 8), hidden=(4,)), prior=OfPosteriors(3, (1, 8, 8)))


def test_a_failing_objective_is_named(data):
    class Broken(ELBO):
        calls = 0

        def __call__(self, terms, beta):
            self.calls += 1
            if self.calls > 2:
                raise ValueError("no\nmore")
            return super().__call__(terms, beta)

    with pytest.raises(PluginError, match=r"objective Broken failed at step 2 \(ValueError: no m"):
        trainer(data, objective=Broken()).run()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    ],
)
def test_exhausted_memory_is_an_error_of_the_settings(data, error, one_sentence):
    broken = Fused(3, 4, Bomb(training=2, error=error))
    with pytest.raises(ConfigError) as caught:
        trainer(data, posterior=broken).run()
    one_sentence(str(caught.value))
    assert "posterior Fused ran out of memory at step 1: lower --batch-size" in str(caught.value)


def test_an_error_outside_all_parts_is_passed_on(data):
    made = trainer(data)
    made.step.data = made.step.data[:3]  # so that a batch's indices lie beyond the data
    with pytest.raises((IndexError, RuntimeError)) as caught:
        made.run()
    assert not isinstance(caught.value, PluginError)


def test_a_suspect_is_blamed_for_what_no_part_did(data):
    made = trainer(data, posterior=Identity(3, 4))  # a part of another module than this one
    with (
        pytest.raises(PluginError, match=r"prior Normal failed there \(ZeroDivisionError: "),
        made.blame.at(lambda: "there", suspect=made.model.prior),
    ):
        1 / 0  # noqa: B018


def test_the_cure_of_exhausted_memory_is_the_callers(data):
    blame = Blame(trainer(data).model, None)
    error = torch.OutOfMemoryError("CUDA out of memory")
    with (
        pytest.raises(ConfigError, match=r"ran out of memory there: rest a little$"),
        blame.at(lambda: "there", "rest a little"),
    ):
        raise error
