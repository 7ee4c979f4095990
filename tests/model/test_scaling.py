"""A model that sees data on a scale of its own, and scores the data itself.

Counts that reach thousands gave "not finite at step 1" before the networks saw their logarithm.
"""

import re

import numpy as np
import pytest
import tomli_w
import torch
from scipy import optimize, stats

import vaeflow
from vaeflow.config.files import read_toml
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.runs.directory import Run

SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]}), "latent": 2}


def table(largest, seed=0, rows=300):
    """Return counts of 50 kinds, lognormal(0, 2) rates times a gamma(2, ½) size of each row."""
    rng = np.random.default_rng(seed)
    rates = rng.lognormal(0, 2, 50) * rng.gamma(2, 0.5, (rows, 1))
    return rng.poisson(rates * (largest / rates.max())).astype(np.float32)


def independent(likelihood, train, held_out):
    """Return the mean log p of independent counts at the training mean, r fitted to the data."""
    mean = train.mean(0, dtype=np.float64).clip(1e-3)
    if likelihood == "poisson":
        return stats.poisson.logpmf(held_out, mean).sum(1).mean()

    def nll(log_r):
        r = np.exp(log_r)
        return -stats.nbinom.logpmf(held_out, r, r / (r + mean)).sum(1).mean()

    return -optimize.minimize_scalar(nll, bounds=(-3, 5), method="bounded").fun


@pytest.mark.parametrize(
    ("likelihood", "largest", "seed"),
    [
        ("poisson", 3114, 0),
        ("poisson", 1e6, 1),
        ("negative-binomial", 3114, 2),
        ("negative-binomial", 1e6, 3),
    ],
)
def test_counts_of_any_size_train_with_the_defaults(likelihood, largest, seed):
    x = table(largest, seed)
    train, held_out = x[:240], x[240:]
    model = vaeflow.build((50,), likelihood=likelihood, seed=seed)
    fitted = vaeflow.fit(model, train, held_out, epochs=12, seed=seed)
    elbo = [record["validation/elbo"] for record in fitted.records]
    assert np.isfinite(elbo).all()
    assert max(elbo) > elbo[0]
    assert max(elbo) > independent(likelihood, train, held_out)


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial"])
def test_training_starts_at_the_mean_of_the_data(likelihood):
    x = torch.from_numpy(table(1e6))
    model = vaeflow.build((50,), likelihood=likelihood)
    model.measure(x)
    with torch.no_grad():
        model.decoder.layers[-1].weight.zero_()
        model.decoder.layers[-1].bias.zero_()
    torch.testing.assert_close(model.sample(1)[0], x.mean(0), rtol=1e-3, atol=2e-3)


def test_a_start_at_the_mean_by_request_is_there_too():
    x = torch.from_numpy(table(1e6))
    model = vaeflow.build((50,), likelihood="poisson")
    model.start_at_mean(x)  # before any scale is known
    with torch.no_grad():
        model.decoder.layers[-1].weight.zero_()
    torch.testing.assert_close(model.sample(1)[0], x.mean(0), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("likelihood", "kind"),
    [
        ("bernoulli", "raw"),
        ("gaussian", "raw"),
        (("categorical", {"levels": 4}), "raw"),
        ("poisson", "log1p"),
        ("negative-binomial", "log1p"),
    ],
)
def test_the_logarithm_is_for_unbounded_counts(likelihood, kind):
    model = vaeflow.build((3,), likelihood=likelihood, **SMALL)
    assert model.scaling.kind == kind
    parts = ("encoder", "posterior", "prior", "decoder", "likelihood")
    by_hand = vaeflow.VAE(*(getattr(model, part) for part in parts))
    assert by_hand.scaling.kind == kind


def test_an_unknown_scaling_is_refused(one_sentence):
    with pytest.raises(ConfigError, match="standardize") as caught:
        vaeflow.build((3,), scaling="log", **SMALL)
    one_sentence(str(caught.value))
    parts = vaeflow.build((3,), **SMALL)
    with pytest.raises(ConfigError, match="scaling is 'log', but auto, raw, log1p"):
        vaeflow.VAE(
            parts.encoder, parts.posterior, parts.prior, parts.decoder, parts.likelihood,
            scaling="log",
        )  # fmt: skip


def test_the_scale_of_another_model_is_taken_with_its_parts():
    model = vaeflow.build((50,), likelihood="poisson", **SMALL)
    vaeflow.fit(model, table(3114), epochs=1)
    assert vaeflow.VAE(*model.children()).scaling is model.scaling
    wide = vaeflow.build((51,), likelihood="poisson", **SMALL)
    with pytest.raises(ConfigError, match=r"the scaling's data shape is \(50,\)"):
        vaeflow.VAE(*[*wide.children()][:-1], model.scaling)


def test_values_far_from_unit_scale_train_standardized():
    rng = np.random.default_rng(0)
    x = (1e7 + 1e5 * rng.normal(size=(200, 5)) * [1, 2, 3, 4, 5]).astype(np.float32)
    wide = ("gaussian", {"scale": "optimal"})
    with pytest.raises(NonFiniteError, match="--scaling standardize"):
        vaeflow.fit(vaeflow.build((5,), likelihood=wide), x, epochs=2)
    model = vaeflow.build((5,), likelihood=wide, scaling="standardize")
    vaeflow.fit(model, x, epochs=5)
    seen = model.sample(1000, mean=False)
    assert np.allclose(seen.mean(0), x.mean(0), rtol=0.02)


def test_the_scale_is_of_the_first_training_data():
    x = table(3114)
    model = vaeflow.build((50,), likelihood="poisson", **SMALL)
    vaeflow.fit(model, x, epochs=1)
    before = {name: value.clone() for name, value in model.scaling.state_dict().items()}
    assert before["examples"] == len(x)
    vaeflow.fit(model, 10 * x[:50], epochs=1)
    assert all(torch.equal(model.scaling.state_dict()[name], before[name]) for name in before)


def test_a_prior_of_posteriors_has_its_inputs_on_the_scale_of_the_encoder():
    x = table(3114)
    vamp = ("vamp", {"components": 5, "inputs": "real"})
    model = vaeflow.build((50,), likelihood="poisson", prior=vamp, **SMALL)
    model.measure(torch.from_numpy(x))
    inputs = model.prior.raw.detach()
    q = model.posterior(model.encoder(inputs))
    assert torch.equal(model.latent_prior().parts.mean, q.mean)
    fitted = vaeflow.fit(model, x, epochs=5)
    assert fitted.records[-1]["train/elbo"] > fitted.records[0]["train/elbo"]


@pytest.fixture(scope="module")
def counts_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "counts.npy"
    np.save(path, table(3114, rows=60))
    return path


@pytest.fixture
def train(counts_file, tmp_path):
    def run(name, path=counts_file, **settings):
        return vaeflow.train(
            tmp_path / name, dataset=("file", {"path": path}), likelihood="poisson",
            batch_size=10, threads=1, test_samples=3, tensorboard=False, **SMALL, **settings,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("scaling", ["auto", "standardize"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(train, cli, scaling):
    whole = train("whole", epochs=3, scaling=scaling)
    parts = train("parts", epochs=1, scaling=scaling)
    assert read_toml(parts.path / "config.toml")["scaling"] == whole.model.scaling.kind
    done = cli("resume", parts.path, "--epochs", 3)
    assert done.code == 0, done.err
    told = [line for line in done.out.splitlines() if line.startswith("scaling ")]
    assert re.fullmatch("scaling .*: encoder and decoder see .*, the likelihood scores x", told[0])
    ended, wanted = (vaeflow.load(run.path, weights="last") for run in (parts, whole))
    for name, value in wanted.state_dict().items():
        assert torch.equal(value, ended.state_dict()[name]), name
    assert Run(parts.path).summary["nll"] == whole.summary["nll"]


def test_a_run_of_counts_from_before_there_was_a_scale_stays_raw(train, cli, tmp_path):
    np.save(tmp_path / "few.npy", table(5, rows=60))
    run = train("old", tmp_path / "few.npy", epochs=1, scaling="raw")
    config = read_toml(run.path / "config.toml")
    del config["scaling"]
    (run.path / "config.toml").write_text(tomli_w.dumps(config))
    assert vaeflow.load(run.path).scaling.kind == "raw"
    assert cli("resume", run.path, "--epochs", 2).code == 0
    assert read_toml(run.path / "config.toml")["scaling"] == "raw"


def test_commands_show_counts_as_they_are(train, cli, counts_file, tmp_path):
    run = train("run", epochs=2)
    for words in (("sample", "--binary"), ("reconstruct",)):
        out = tmp_path / f"{words[0]}.npz"
        done = cli(words[0], run.path, *words[1:], "--out", out)
        assert done.code == 0, done.err
    samples = np.load(tmp_path / "sample.npz")["samples"]
    assert np.array_equal(samples, samples.round())
    assert samples.max() > 100
    shown = np.load(tmp_path / "reconstruct.npz")
    assert (shown["images"][:, None] == np.load(counts_file)).all(-1).any(1).all()
    assert shown["reconstructions"].max() > 100
    kept = run.summary["nll"]
    done = cli("evaluate", run.path, "-k", 3, "--json")
    assert f'"mean": {kept["mean"]}' in done.out


def test_a_saved_fit_keeps_its_scale(tmp_path):
    x = table(3114)
    model = vaeflow.build((50,), likelihood="poisson", scaling="standardize", **SMALL)
    run = vaeflow.save(vaeflow.fit(model, x, epochs=1), tmp_path / "run")
    loaded = vaeflow.load(run.path)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.scaling.spread, model.scaling.spread)


class Both(torch.nn.Module):
    """Data to the parameters of q(z|x), and z to the mean of p(x|z)."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, z):
        return self.model.infer(x).mean, self.model.generate(z).mean


@pytest.mark.parametrize("scaling", ["log1p", "standardize"])
def test_a_scaled_model_is_exported(scaling):
    x = torch.from_numpy(table(3114))
    model = vaeflow.build((50,), likelihood="poisson", scaling=scaling, **SMALL).eval()
    model.measure(x)
    z = torch.randn(1, len(x), 2)
    with torch.no_grad():
        program = torch.export.export(Both(model), (x, z), strict=False)
        for seen, wanted in zip(program.module()(x, z), Both(model)(x, z), strict=True):
            torch.testing.assert_close(seen, wanted)
