"""`--dequantize` and `--start-at-mean`, from the command line to the figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import vaeflow


@pytest.fixture
def levels(tmp_path):
    """A file of 38 images of the levels 0, ⅓, ⅔, 1."""
    x = np.random.RandomState(0).randint(0, 4, (38, 1, 4, 4)).astype(np.float32) / 3
    path = tmp_path / "levels.npy"
    np.save(path, x)
    return path


@pytest.fixture
def train(cli, tiny, levels, here):
    def run(*words):
        data = ("--dataset", "file", "--dataset.path", levels)
        return cli("train", *tiny, "--no-tensorboard", *data, "--run-dir", "run", *words)

    return run


def summary(here):
    return json.loads((here / "run" / "summary.json").read_text())


def test_a_dequantized_density_has_bits_per_dimension(train, cli, here):
    done = train("--likelihood", "gaussian", "--dequantize", 4)
    assert (done.code, done.err) == (0, "")
    found = summary(here)
    assert (found["binarization"], found["dequantize"]) == ("none", 4)
    nats = found["nll"]["mean"] / 16
    assert found["bits_per_dimension"]["mean"] == pytest.approx(nats / math.log(2) + 2)
    again = cli("evaluate", "run", "-k", 3, "--json")
    assert json.loads(again.out)["nll"] == found["nll"]
    assert "bits per dimension" in cli("evaluate", "run", "-k", 3).out


def test_a_density_of_plain_levels_has_no_bits_per_dimension(train, cli, here):
    done = train("--likelihood", "gaussian")
    assert (done.code, done.err) == (0, "")
    assert summary(here)["bits_per_dimension"] is None
    assert "bits per dimension" not in done.out


def test_a_categorical_likelihood_has_bits_per_dimension(train, here):
    assert train("--likelihood", "categorical", "--likelihood.levels", 4).code == 0
    found = summary(here)
    nats = found["nll"]["mean"] / 16
    assert found["bits_per_dimension"]["mean"] == pytest.approx(nats / math.log(2))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--dequantize", 3), "--dequantize 3 needs the values k/2"),
        (("--dequantize", 4, "--binarization", "dynamic"), "leave one out"),
        (("--dequantize", 1), "--dequantize: got 1"),
        (("--dequantize", 4, "--likelihood", "bernoulli"), "spreads levels for a density"),
        (("--start-at-mean", "--likelihood", "categorical"), "leave it out"),
    ],
)
def test_contradictory_options_are_refused_before_any_work(train, here, words, told):
    words = words if "--likelihood" in words else ("--likelihood", "gaussian", *words)
    done = train(*words)
    assert done.code != 0
    assert told in done.err
    assert not (here / "run").exists()


def test_start_at_mean_lowers_the_first_loss(train, here):
    losses = {}
    for start in ("--no-start-at-mean", "--start-at-mean"):
        path = f"run{start}"
        done = train("--likelihood", "gaussian", "--lr", 1e-30, start, "--run-dir", path)
        assert done.code == 0, done.err
        line = (here / path / "metrics.jsonl").read_text().splitlines()[0]
        losses[start] = json.loads(line)["train/loss"]
    # The data's mean, ½, leaves a variance of 5/36 where 0 leaves 14/36: ½·16·¼ nats less.
    assert losses["--no-start-at-mean"] - losses["--start-at-mean"] > 1


def test_start_at_mean_uses_the_dequantized_data(cli, tiny, here):
    np.save("dark.npy", np.zeros((40, 1, 4, 4), np.float32))
    done = cli(
        "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", "dark.npy",
        "--likelihood", "gaussian", "--dequantize", 2, "--start-at-mean", "--lr", 1e-30,
        "--run-dir", "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    bias = vaeflow.load("run").decoder.layers[-1].bias
    assert bias.mean().item() == pytest.approx(0.25, abs=0.03)
