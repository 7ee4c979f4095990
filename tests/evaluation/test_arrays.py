"""`vaeflow.evaluate`: its options are checked, and its figures are numbers."""

import numpy as np
import pytest
import torch

import vaeflow
from vaeflow.errors import ConfigError, NonFiniteError

SHAPE = (1, 4, 4)
SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}


@pytest.fixture
def x():
    return np.random.default_rng(0).random((6, *SHAPE)).round()


@pytest.fixture
def model():
    return vaeflow.build(SHAPE, latent=2, **SMALL)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"samples": 0}, "samples is 0: input should be greater than or equal to 1"),
        ({"samples": -1}, "samples is -1: input should be greater"),
        ({"samples": None}, "samples is None: input should be a valid integer"),
        ({"samples": 2.5}, r"samples is 2\.5: input should be a valid integer"),
        ({"samples": True}, "samples is True: true and false are no numbers"),
        ({"dequantize": 0}, "dequantize is 0: input should be greater than or equal to 2"),
        ({"dequantize": 1}, "dequantize is 1: input should be greater than or equal to 2"),
        ({"dequantize": True}, "dequantize is True: true and false are no numbers"),
        ({"seed": "x"}, "seed is 'x': input should be a valid integer"),
        ({"seed": 1.5}, r"seed is 1\.5: input should be a valid integer"),
        ({"seed": None}, "seed is None: input should be a valid integer"),
        ({"seed": -1}, "seed is -1: input should be greater than or equal to 0"),
        ({"chunk": 0}, "chunk is 0: input should be greater than or equal to 1"),
        ({"chunk": "a"}, "chunk is 'a': input should be a valid integer"),
        ({"binarization": "x"}, "binarization is 'x': input should be 'auto'"),
        ({"sample": 3}, r"unknown option 'sample' \(did you mean 'samples'"),
    ],
)
def test_an_invalid_option_is_refused(model, x, options, told, one_sentence):
    with pytest.raises(ConfigError, match=f"^evaluate: {told}") as caught:
        vaeflow.evaluate(model, x, **options)
    one_sentence(str(caught.value))


def test_text_and_numbers_of_numpy_are_numbers(model, x):
    whole = vaeflow.evaluate(model, x, samples=5, seed=1, chunk=7)
    assert vaeflow.evaluate(model, x, samples="5", seed=np.int64(1), chunk=np.int32(7)) == whole


def test_progress_opens_a_bar_unless_it_is_false(model, x, monkeypatch):
    from vaeflow.runtime.progress import no_bar

    opened = []

    def bar(total, what, done=0):
        opened.append((total, what))
        return no_bar(total, what)

    monkeypatch.setattr("vaeflow.runtime.progress.terminal_bar", bar)
    monkeypatch.setattr("vaeflow.runtime.progress.lines_of", lambda write: bar)
    for progress in (None, True, False):
        vaeflow.evaluate(model, x, samples=2, progress=progress)
    assert opened == [(6, "examples")] * 2


def test_bounds_that_are_no_numbers_are_an_error(model, x, one_sentence):
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match=r"the bound is not finite \(ELBO nan") as caught:
        vaeflow.evaluate(model, x, samples=2)
    one_sentence(str(caught.value))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_half_precision_is_refused(model, x, dtype, one_sentence):
    told = f"weights are {dtype}, but float32 or float64 is expected: call model.float"
    for function in (vaeflow.evaluate, vaeflow.fit):
        with pytest.raises(ConfigError, match=told) as caught:
            function(model.to(dtype), x)
        one_sentence(str(caught.value))
    assert vaeflow.evaluate(model.double(), x, samples=2).images == 6


def test_exhausted_memory_is_cured_by_a_lower_chunk(model, x, monkeypatch):
    def burst(self, *words):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(model.decoder), "forward", burst)
    told = "decoder MLP ran out of memory in evaluation: lower chunk, as in chunk=1000"
    with pytest.raises(ConfigError, match=told):
        vaeflow.evaluate(model, x, samples=2)
