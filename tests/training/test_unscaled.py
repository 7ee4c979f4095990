"""Data whose scale makes the first loss absurd, and the cures that are named."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import vaeflow
from vaeflow.data.examples import Examples
from vaeflow.errors import DataError, NonFiniteError
from vaeflow.parts.datasets.digits import Digits
from vaeflow.runtime.blame import Blame
from vaeflow.training.unscaled import check_scale

DIGITS = Digits().load().train[:300]
SMALL = {"latent": 3, "encoder": ("mlp", {"hidden": (30,)}), "decoder": ("mlp", {"hidden": (30,)})}


def fit(x: torch.Tensor, likelihood="gaussian", **options):
    model = vaeflow.build(tuple(x.shape[1:]), likelihood=likelihood, **SMALL, **options)
    vaeflow.fit(model, x, epochs=1, batch_size=100, device="cpu")
    return model


def refusal(x: torch.Tensor, **options) -> str:
    with pytest.raises((DataError, NonFiniteError)) as caught:
        fit(x, **options)
    return caught.value.written


@pytest.mark.parametrize(
    ("x", "scale"),
    [
        ((DIGITS * 255).round(), 255), (255 - (DIGITS * 255).round(), 255), (DIGITS * 254.7, 1000),
        (DIGITS * 1e4, 1e4), (DIGITS * 1e6, 1e6), (DIGITS * -3e5, 1e6), (1e6 + 100 * DIGITS, 1e7),
    ],
    ids=["bytes", "white", "floats", "1e4", "1e6", "negative", "far"],
)  # fmt: skip
def test_an_absurd_first_loss_is_refused_with_cures_that_work(x, scale, one_sentence):
    message = refusal(x)
    one_sentence(message)
    assert f"the training data lies in [{x.min():g}, {x.max():g}], where the first loss" in message
    assert "--scaling standardize" in message
    (told,) = re.findall(r"--dataset\.scale (\S+)\)", message)
    assert float(told) == scale
    fit(x / scale)
    fit(x, scaling="standardize")


@pytest.mark.parametrize(
    ("x", "likelihood"),
    [
        (DIGITS * 100, "gaussian"),
        ((DIGITS * 255).round(), "poisson"),
        (DIGITS * 50, ("gaussian", {"scale": "optimal"})),
        (DIGITS, ("gaussian", {"sigma": 1e-3})),
    ],
    ids=["wide", "counts", "optimal", "precise"],
)
def test_what_trains_is_not_refused(x, likelihood):
    fit(x, likelihood)


def test_a_few_examples_that_are_far_off_are_no_matter_of_the_scale():
    model = vaeflow.build((1, 8, 8), likelihood="gaussian", **SMALL)
    blame = Blame(model, None)
    for far in (1, 40, 60):
        x = DIGITS.clone()
        x[:far] = 1e4
        if far < 50:  # of the first 100 examples
            check_scale(model, Examples(x), blame)
        else:
            with pytest.raises((DataError, NonFiniteError), match="the first loss"):
                check_scale(model, Examples(x), blame)


def test_the_check_draws_no_number_of_the_training(monkeypatch):
    x = DIGITS * 20
    before = fit(x, seed=1)
    monkeypatch.setattr("vaeflow.training.prepare.check_scale", lambda *a: None)
    after = fit(x, seed=1)
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_shell_refuses_before_it_writes(cli, tiny, here, one_sentence):
    np.save("raw.npy", (255 * DIGITS).numpy())
    words = ("train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", "raw.npy",
             "--likelihood", "gaussian", "--run-dir", "run")  # fmt: skip
    done = cli(*words)
    assert done.code == 3
    assert "--dataset.scale" in done.err
    assert not (here / "run").exists()
    assert cli(*words, "--dataset.scale", 255).code == 0
