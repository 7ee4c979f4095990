"""Parts that break their contract, found by a first pass."""

import pytest
import torch
from small_vae import SHAPE, images, model, run

from vaeflow.config.settings import Settings
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import PluginError
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.training import prepare_trainer


class Wrong(Identity):
    """Breaks the contract as it is told."""

    def __init__(self, latent, features, *, how):
        super().__init__(latent, features)
        self.how = how

    def forward(self, h):
        q = super().forward(h)
        if self.how == "raises":
            raise ValueError("no such thing")
        if self.how == "batch":
            return DiagonalNormal(q.loc[:1], q.log_scale[:1])
        return DiagonalNormal(q.loc[..., :2], q.log_scale[..., :2])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raises", r"posterior Wrong failed on a first batch \(ValueError: no such thing\)"),
        ("batch", r"posterior Wrong: q\(z\|x\)'s batch shape has shape \(1,\), but \(2,\)"),
        ("event", r"posterior Wrong: q\(z\|x\)'s event shape has shape \(2,\), but \(3,\)"),
    ],
)
def test_a_part_that_breaks_its_contract_is_named(how, told):
    with pytest.raises(PluginError, match=told):
        run(model(Wrong, how=how))


class Unpathed(Posterior):
    """A mixture, which torch cannot draw from with gradients."""

    def forward(self, h):
        from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

        weights = Categorical(logits=torch.zeros(len(h), 2))
        parts = Independent(Normal(torch.zeros(len(h), 2, self.latent), 1.0), 1)
        return MixtureSameFamily(weights, parts)


def test_a_distribution_without_rsample_is_named():
    with pytest.raises(PluginError, match="posterior Unpathed: its MixtureSameFamily cannot"):
        run(model(Unpathed))


def test_the_first_pass_changes_no_running_mean():
    likelihood = Gaussian(SHAPE, scale="optimal", sigma=2.0)
    trainer = prepare_trainer(
        model(likelihood=likelihood), images(40), settings=Settings(batch_size=20)
    )
    assert likelihood.batches.item() == 0
    assert likelihood.variance.item() == 4.0
    trainer.run()
    assert likelihood.batches.item() == 2 * trainer.settings.epochs
