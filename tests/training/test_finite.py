"""Trainings that stop where a loss, a term or a weight is not finite."""

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


class Exploding(Posterior):
    """Finite on the first batch, infinite later."""

    def __init__(self, latent, features, *, after):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.calls = 0
        self.after = after

    def forward(self, h):
        self.calls += 1
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
    with pytest.raises(NonFiniteError, match=r"at step 5: lower --lr"):
        trainer.run(store=store)
    # Two of the calls are the first pass; the checkpoint is that of the epoch before.
    kept = store.latest()
    assert kept.step == 3
    assert all(torch.isfinite(v).all() for v in kept.tensors["model"].values())


def test_an_infinite_validation_bound_stops_the_run():
    vae = model(likelihood=Gaussian(SHAPE))
    with pytest.raises(NonFiniteError, match="on the validation data"):
        fit(vae, images(20), images(5) * 3e38, epochs=1, device="cpu")


def test_a_weight_that_becomes_infinite_is_named():
    settings = {"epochs": 1, "optimizer": "rmsprop", "lr": 1e38, "eps": 1e-30, "device": "cpu"}
    with pytest.raises(NonFiniteError, match=r"epoch 1, in \w+\."):
        fit(model(), images(20), binarization="dynamic", **settings)
