"""Every likelihood is learned from data that it can score, through the library and the shell."""

import json
import math
import tomllib

import pytest
import torch

from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.categorical import Categorical
from vaeflow.parts.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vaeflow.parts.likelihoods.discretized_logistic import DiscretizedLogistic
from vaeflow.parts.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from vaeflow.parts.likelihoods.laplace import Laplace
from vaeflow.parts.likelihoods.negative_binomial import NegativeBinomial
from vaeflow.parts.likelihoods.poisson import Poisson
from vaeflow.parts.likelihoods.student_t import StudentT
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.training.fit import fit

SHAPE = (1, 4, 4)


@pytest.mark.parametrize(
    ("part", "options", "top"),
    [
        (ContinuousBernoulli, {}, 1),
        (Laplace, {"scale": "shared"}, 1),
        (StudentT, {"scale": "pixel"}, 1),
        (Categorical, {"levels": 9}, 1),
        (DiscretizedLogistic, {"levels": 9}, 1),
        (DiscretizedLogisticMixture, {"levels": 9}, 1),
        (Poisson, {}, 8),
        (NegativeBinomial, {}, 8),
    ],
)
def test_epoch_raises_the_bound(part, options, top):
    torch.manual_seed(0)
    likelihood = part(SHAPE, **options)
    model = VAE(
        Encoder(SHAPE, hidden=(16,)),
        Identity(3, 16),
        Normal(3, SHAPE),
        Decoder(3, likelihood.output_shape, hidden=(16,)),
        likelihood,
    )
    # Half of each image is dark, the other bright, in nine levels.
    bright = torch.randint(2, (200, 1, 1, 1)).float()
    dark = torch.tensor([0.0, 1]).repeat_interleave(8).view(SHAPE)
    x = (bright * dark + (1 - bright) * (1 - dark)) * torch.randint(5, 9, (200, *SHAPE)) / 8 * top
    settings = {"batch_size": 20, "device": "cpu", "lr": 0.01}
    first = fit(model, x[40:], x[:40], epochs=1, **settings).records[-1]
    last = fit(model, x[40:], x[:40], epochs=5, **settings).records[-1]
    assert last["validation/elbo"] > first["validation/elbo"] + 0.5
    assert math.isfinite(first["train/loss"])


def test_digits_levels_from_the_shell(cli, tmp_path):
    done = cli(
        "train", "--dataset", "digits", "--likelihood", "categorical", "--likelihood.levels", 17,
        "--encoder.hidden", 16, "--decoder.hidden", 16, "--latent", 2, "--epochs", 1,
        "--threads", 1, "--test-samples", 2, "--test-images", 20, "--no-tensorboard",
        "--run-dir", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))
    assert config["binarization"] == "none"
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    nats = -json.loads(line)["validation/log_px"]
    assert nats < 64 * math.log(17)  # that of equal probabilities
    assert cli("sample", tmp_path / "run", "--out", tmp_path / "x.png").code == 0
    drawn = cli("reconstruct", tmp_path / "run", "--out", tmp_path / "y.npz")
    assert drawn.code == 0, drawn.err


def test_levels_that_the_digits_do_not_have(cli, tmp_path):
    done = cli("train", "--likelihood", "discretized-logistic", "--run-dir", tmp_path / "run")
    assert done.code == 3
    assert "its values are k/16: give --likelihood.levels 17" in done.err
