"""Draws of q(z|x) with log q, and means, of any number of examples."""

import math
import re

import pytest
import torch

import vaeflow
from vaeflow.data.examples import as_examples
from vaeflow.errors import ConfigError
from vaeflow.latents.codes import encode_examples

SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}
X = (torch.rand(103, 1, 3, 3, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def model(posterior):
    return vaeflow.build(X.shape[1:], latent=3, posterior=posterior, **SMALL).double()


@pytest.mark.parametrize("posterior", ["identity", "iaf"])
def test_log_q_is_the_density_of_each_draw(posterior):
    vae, data = model(posterior), as_examples(X.double())
    z, log_q = encode_examples(vae, data, draws=30)
    assert (z.shape, log_q.shape) == ((103, 30, 3), (103, 30))
    with torch.no_grad():
        q = vae.infer(data)
        expected = torch.stack([q.log_prob(one) for one in z.unbind(1)], 1)
    torch.testing.assert_close(log_q, expected, rtol=1e-9, atol=1e-9)
    error = z.std(1) / math.sqrt(30)
    mean, none = encode_examples(vae, data, seed=1)
    assert none is None
    assert ((z.mean(1) - mean).abs() < 8 * error).all()


def test_a_seed_repeats_the_draws_and_the_number_of_rows_changes_none():
    vae = model("planar")
    z, log_q = encode_examples(vae, as_examples(X.double()), draws=2, seed=5)
    again, scores = encode_examples(vae, as_examples(X[:100].double()), draws=2, seed=5)
    assert torch.equal(z[:100], again)
    assert torch.equal(log_q[:100], scores)
    assert not torch.equal(z, encode_examples(vae, as_examples(X.double()), draws=2)[0])


def test_batches_of_equal_examples_have_other_noise():
    copies = as_examples(X[:1].double().repeat(200, 1, 1, 1))
    z, _ = encode_examples(model("identity"), copies, draws=1)
    assert len(z.unique(dim=0)) == 200


def test_a_model_without_a_run_encodes_data_that_is_given():
    vae = model("identity").float()
    found = vaeflow.encode(vae, X.numpy(), draws=2, progress=False)
    assert found.columns["row"].tolist() == [row for row in range(103) for _ in range(2)]
    torch.testing.assert_close(
        torch.from_numpy(vaeflow.encode(vae, X).z), vae.encode(X), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ConfigError, match="a model has no data of its own"):
        vaeflow.encode(vae)


def test_draws_that_memory_cannot_hold_are_refused_with_a_number_that_fits(
    monkeypatch, one_sentence
):
    vae = model("identity").float()
    monkeypatch.setattr("vaeflow.latents.codes.free_memory", lambda device: 10**6)
    with pytest.raises(ConfigError, match="--draws 1000000000 needs") as caught:
        vaeflow.encode(vae, X, draws=10**9, progress=False)
    one_sentence(str(caught.value))
    most = int(re.search("take ([0-9]+) or fewer", str(caught.value))[1])
    assert vaeflow.encode(vae, X, draws=most, progress=False).z.shape == (103, most, 3)
    with pytest.raises(ConfigError, match=f"--draws {most + 1} needs"):
        vaeflow.encode(vae, X, draws=most + 1, progress=False)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="or fewer"):
        vaeflow.encode(vae, X, draws=10**9, progress=False)
