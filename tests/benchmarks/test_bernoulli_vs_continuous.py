"""The comparison of likelihoods of grey pixels: its scores, and its report of tiny models."""

import json
import math
import re
import sys

import pytest
import torch
from PIL import Image
from scipy.optimize import brentq
from torch.distributions import ContinuousBernoulli, Normal

from vaeflow import VAE, load
from vaeflow.comparison.differences import difference
from vaeflow.comparison.pairing import Pairing
from vaeflow.comparison.places import find
from vaeflow.data.binarization import prepare_split
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal as StandardNormal
from vaeflow.runtime.noise import Noise

EDGE = 1 / 20  # torch's continuous Bernoulli loses digits where λ is nearer to 1 than this makes it


@pytest.fixture(scope="module")
def rescoring(script):
    return sys.modules["shared.rescoring"]


def exact_mean(eta):
    if eta < 0:
        return 1 - exact_mean(-eta)
    return -1 / math.expm1(-eta) - 1 / eta if eta else 0.5


def exact_tilt(mean):
    return brentq(lambda eta: exact_mean(eta) - mean, -1e5, 1e5, xtol=1e-12)


@pytest.fixture(scope="module")
def x():
    return Digits().load().test[:5]


def model_with(likelihood):
    torch.manual_seed(1)
    model = VAE(
        encoder=Encoder((1, 8, 8), hidden=(5,)),
        posterior=Identity(2, 5),
        prior=StandardNormal(2, (1, 8, 8)),
        decoder=Decoder(2, likelihood.output_shape, hidden=(5,)),
        likelihood=likelihood,
    )
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(6)  # some means beyond the edge
    return model.eval()


def outputs(model, x):
    """Return the decoder's output for the draws of `rescore`, seeded by 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        return model.decoder(model.infer(x).rsample((1,)))[0].double()


def scores(rescoring, model, x, sigma=0.3):
    torch.manual_seed(0)
    return rescoring.rescore(model, x, sigma, EDGE)


def score(p, x):
    return p.log_prob(x.double()).flatten(1).sum(1)


@pytest.mark.parametrize("mean", [1e-4, 1 / 512, 0.1, 0.4999, 0.5, 0.51, 0.9, 511 / 512])
def test_a_continuous_bernoulli_can_have_any_mean(rescoring, mean):
    eta = rescoring.tilt(torch.tensor(mean, dtype=torch.float64))
    assert eta.item() == pytest.approx(exact_tilt(mean), rel=1e-9, abs=1e-9)


def test_cross_entropy_is_scored_as_torchs_continuous_bernoulli(rescoring, x):
    model = model_with(Bernoulli((1, 8, 8), grey=True))
    logits = outputs(model, x)
    mean = logits.sigmoid().clamp(EDGE, 1 - EDGE)
    assert (mean == EDGE).any()
    assert (mean == 1 - EDGE).any()
    etas = torch.tensor([exact_tilt(m) for m in mean.flatten().tolist()]).double().view_as(mean)
    expected = {}
    for name, eta in (("logits", logits), ("continuous", etas)):
        expected[name] = score(ContinuousBernoulli(logits=eta), x)
        clipped = eta.sigmoid().clamp(1e-4, 1 - 1e-4)
        expected[f"{name}, clipped"] = score(ContinuousBernoulli(probs=clipped), x)
    expected["gaussian"] = score(Normal(mean, 0.3), x)
    found = scores(rescoring, model, x)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-6, atol=1e-5, msg=name)


def test_a_gaussian_has_no_logits_and_is_scored_by_its_mean(rescoring, x):
    model = model_with(Gaussian((1, 8, 8), link="sigmoid"))
    mean = outputs(model, x).sigmoid().clamp(EDGE, 1 - EDGE)
    found = scores(rescoring, model, x)
    assert found.keys() == {"continuous", "continuous, clipped", "gaussian"}
    torch.testing.assert_close(found["gaussian"], score(Normal(mean, 0.3), x))


def test_no_other_sigma_scores_higher(rescoring, x):
    model = model_with(Gaussian((1, 8, 8), link="sigmoid"))
    torch.manual_seed(0)
    best = rescoring.best_sigma(model, x, EDGE)
    peak, *others = (
        scores(rescoring, model, x, sigma)["gaussian"].sum()
        for sigma in (best, 0.99 * best, 1.01 * best)
    )
    assert peak > max(others)


@pytest.fixture(scope="module")
def places(script, cli, tmp_path_factory):
    """The models of the comparison, of two seeds, on digits: their grids in small."""
    settings = [
        "--recipe", "zoltowski-mnist", "--dataset", "digits", "--dequantize", 17, "--epochs", 1,
        "--encoder.hidden", 8, "--decoder.hidden", 8, "--test-samples", 2, "--test-images", 20,
        "--no-tensorboard",        "--image-every", 0, "--threads", 1,
    ]  # fmt: skip
    relu = ["--encoder.activation", "relu", "--decoder.activation", "relu"]
    models = {
        "bernoulli": ["--likelihood", "bernoulli", "--likelihood.grey", "true", *relu],
        "continuous": ["--likelihood", "continuous-bernoulli", *relu],
        "fixed": relu,
        "optimal": ["--likelihood.scale", "optimal", *relu],
        "sigmoids": ["--likelihood", "continuous-bernoulli"],
    }
    folder = tmp_path_factory.mktemp("runs")
    for name, options in models.items():
        for seed in (0, 1):
            run = folder / f"{name}-{seed}"
            done = cli("train", *settings, *options, "--seed", seed, "--run-dir", run)
            assert done.code == 0, done.err
            done = cli("evaluate", run, "--proposal", "q", "-k", script.K)
            assert done.code == 0, done.err
    return find(sorted(folder.iterdir()))[0]


@pytest.fixture(scope="module")
def found(script, places):
    return script.measure(places, script.MODELS, script.K)


def test_each_model_has_its_runs_and_its_own_score(script, found):
    for name, scored in found.items():
        assert [run.seed for run in scored.runs] == [0, 1], name
    own = found[script.CONTINUOUS]  # whose logits are its own: one draw or K
    difference_of_draws = own.figures["logits"] - own.figures["elbo"]
    assert difference_of_draws.std() > 0
    assert abs(difference_of_draws.mean()) < 5 * difference_of_draws.std() / 600**0.5


def test_sigma_is_fitted_to_the_validation_images(rescoring, found):
    scored = found["Gaussian, best σ"]
    validation = prepare_split(Digits().load().validation, "none", 17)
    model = load(scored.runs[1].run.path)
    with Noise(1, model.device).private("rescoring"):
        assert scored.sigmas[1] == rescoring.best_sigma(model, validation, 0.5 / 17)


def test_the_report_agrees_with_the_figures(script, found, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(sys.modules["shared.common"], "RESULTS", tmp_path)
    script.report(found, "Measured by a test.")
    text = (tmp_path / "bernoulli_vs_continuous.md").read_text("utf-8")
    models = json.loads((tmp_path / "bernoulli_vs_continuous.json").read_text("utf-8"))["models"]
    with Image.open(tmp_path / "bernoulli_vs_continuous.png") as image:
        assert image.mode == "L"
        assert min(image.size) > 300
    assert "over 2 seeds" in text
    for name, scored in found.items():
        for figure in ("continuous", "gaussian", "kl", "squared_error"):
            seeds = models[name]["figures"][figure]
            assert seeds == pytest.approx(scored.figures[figure].mean(1).tolist())
            mean, error = sum(seeds) / 2, abs(seeds[0] - seeds[1]) / 2
            assert f"{mean:.2f} ± {error:.2f}" in text
    base, other = (found[n].figures["gaussian"] for n in (script.CROSS_ENTROPY, script.CONTINUOUS))
    d = difference(other, base, Pairing((0, 1), (0, 1)))
    assert "A difference is paired by seed (2 shared seeds); its error covers other seeds" in text
    assert models[script.CONTINUOUS]["over_cross_entropy"]["gaussian"]["mean"] == d.mean
    sentence = re.search(rf"^- \*\*{script.CONTINUOUS}\*\* rather than .*$", text, re.M)[0]
    assert f"{script.in_words(d)} as a Gaussian" in sentence


def test_the_best_has_the_highest_density_or_the_least_error(script, found):
    for score, choose in (("gaussian", max), ("squared_error", min)):
        name = choose(found, key=lambda name: found[name].figures[score].mean())
        assert script.best(found, score).startswith(f"**{name}**, {found[name].mean(score):.2f}")


def test_an_insignificant_difference_is_reported_as_none(script):
    torch.manual_seed(0)
    values = torch.randn(2, 100, dtype=torch.float64)
    assert script.in_words(difference(values, values.flip(0))).startswith("no clear difference (")
    higher = script.in_words(difference(values + 9, values))
    assert higher.startswith("9.00 ± ")
    assert higher.endswith(" higher")
    assert script.in_words(difference(values - 9, values)).endswith(" lower")
