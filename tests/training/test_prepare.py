"""Settings and data, checked before the first step."""

import pytest
import torch
from small_vae import SHAPE, images, model, run

from vaeflow.data.binarization import prepare_split
from vaeflow.errors import ConfigError, DataError
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.training import prepare_trainer
from vaeflow.training.fit import fit


def test_dequantized_training_data_gets_new_noise_and_validation_data_the_same():
    levels = (images(40) * 3).round() / 3
    vae = model(likelihood=Gaussian(SHAPE, sigma=0.3))
    trainer = prepare_trainer(vae, levels, levels[:10], dequantize=4)
    first, second = (trainer.data.redraw(trainer.data.train.x) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal((first * 4).floor(), (levels * 3).round())
    assert torch.equal(trainer.data.validation.x, prepare_split(levels[:10], "none", 4))
    with pytest.raises(DataError, match="--dequantize 4 needs the values k/3"):
        prepare_trainer(vae, images(40), dequantize=4)


def test_data_is_checked_before_training():
    with pytest.raises(DataError, match="needs values 0 and 1"):
        fit(model(), images(10), binarization="none", device="cpu")
    with pytest.raises(DataError, match="empty"):
        fit(model(), images(0), binarization="dynamic", device="cpu")
    with pytest.raises(DataError, match=r"shape \(3, 2, 2\), but the model takes"):
        fit(model(), torch.zeros(3, 2, 2), device="cpu")


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="--epochs: got 0"):
        run(epochs=0)
    with pytest.raises(ConfigError, match=r"unknown option \(did you mean 'epochs'"):
        run(epoch=3)
    with pytest.raises(ConfigError, match="closed form"):
        fit(
            model(Planar, steps=1),
            (images(10) > 0.5).float(),
            objective=ELBO(kl="analytic"),
            device="cpu",
        )
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="this machine has none"):
            run(device="cuda")


def test_an_unknown_binarization_is_refused():
    with pytest.raises(ConfigError, match="'dynamc' is unknown; give none, dynamic, threshold"):
        fit(model(), images(10), binarization="dynamc", device="cpu")


def test_early_stopping_needs_validation_data():
    with pytest.raises(ConfigError, match="needs validation data"):
        fit(model(), images(10), binarization="dynamic", early_stopping=2, device="cpu")


@pytest.mark.parametrize("kind", [torch.float64, torch.uint8, torch.bool])
def test_data_of_another_type_than_the_weights_is_refused(kind):
    with pytest.raises(DataError, match=f"is {kind}, but the model's weights are torch.float32"):
        prepare_trainer(model(), images(10).to(kind))
