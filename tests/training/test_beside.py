"""Gaps, covariates and weights in a training: the step, its captured form, and a saved fit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from graph_stand_in import Again

import vaeflow
from vaeflow.config.settings import Settings
from vaeflow.data.examples import Examples
from vaeflow.errors import DataError
from vaeflow.terms import Terms
from vaeflow.training import prepare_trainer
from vaeflow.training.acceleration.captured import Captured
from vaeflow.training.step import Step

N = 57


def model(**more):
    return vaeflow.build(
        (6,),
        latent=2,
        encoder=("mlp", {"hidden": (8,)}),
        decoder=("mlp", {"hidden": (8,)}),
        posterior=("planar", {"steps": 2}),
        likelihood=("gaussian", {"scale": "optimal"}),
        missing="mask",
        condition={"site": np.arange(N) % 3, "age": np.linspace(0, 80, N)},
        **more,
    )


def data(vae, n=N):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=generator)
    x[torch.rand(n, 6, generator=generator) < 0.3] = torch.nan
    condition = {"site": np.arange(n) % 3, "age": np.linspace(0, 80, n)}
    return vae.examples(x, condition, torch.rand(n, generator=generator))


def trainer(**settings):
    vae = model()
    settings = {"batch_size": 10, "epochs": 2, "device": "cpu", "lr": 1e-2, **settings}
    return prepare_trainer(vae, data(vae), data(vae, 20), settings=Settings(**settings))


def outcome(one):
    fit = one.run()
    keys = ("train/elbo", "train/log_px", "train/log_pz", "validation/elbo", "grad_norm")
    return torch.tensor([[r[k] for k in keys] for r in fit.records]), fit.best


def test_a_captured_step_takes_gaps_covariates_and_weights():
    plain, captured = trainer(), trainer()
    again = Again()
    captured.step = Captured(captured.eager, 10, captured.blame, again)
    found, expected = outcome(captured), outcome(plain)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert again.repeats == 2 * 5 - 3
    assert found[0].isfinite().all()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::FutureWarning:torch._inductor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_has_the_numbers_of_the_eager_one(caplog):
    one = trainer(compile=True)
    torch.testing.assert_close(outcome(one)[0], outcome(trainer())[0], rtol=1e-3, atol=1e-3)
    assert not one.eager.loss_module.fails
    assert not [r for r in caplog.records if r.name == "vaeflow"]


def test_every_weight_multiplies_the_gradient_of_its_example():
    p, weight = torch.nn.Parameter(torch.zeros(())), torch.tensor([2.0, 1.0, 0.0, 0.5])
    x, zeros = torch.tensor([[1.0], [10.0], [100.0], [1000.0]]), torch.zeros(1, 2)

    def loss(values, beta):
        each = (p * values)[:, 0]
        sample = type("Sample", (), {"z": zeros[..., None], "log_base": zeros, "log_det": zeros})
        return Terms(each[None] + 1, zeros, sample, None, None), each

    step = Step(
        loss,
        torch.optim.SGD([p], lr=1.0),
        Examples(x, weight=weight),
        samples=1,
        redraw=None,
        clip=None,
    )
    step(torch.tensor([1, 3]), torch.ones(()))
    assert p.item() == (10 * 1.0 + 1000 * 0.5) / 2
    assert step.sums.totals[0].item() == 1.0 * 1 + 0.5 * 1  # log p(x|z) was 1 before the update


def test_the_mean_weight_is_brought_to_1():
    one, vae = trainer(), model()
    heavy = data(vae)
    heavy = Examples(heavy.x, heavy.condition, 1000 * heavy.weight)
    other = prepare_trainer(
        vae, heavy, data(vae, 20), settings=Settings(batch_size=10, epochs=2, device="cpu", lr=1e-2)
    )
    assert one.data.train.weight.mean().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(outcome(other)[0], outcome(one)[0], rtol=1e-3, atol=1e-3)


def test_a_fit_beside_covariates_is_saved_and_loaded(tmp_path):
    vae = model()
    fitted = vaeflow.fit(vae, data(vae), data(vae, 20), epochs=1, device="cpu", progress=False)
    vaeflow.save(fitted, tmp_path / "run")
    loaded = vaeflow.load(tmp_path / "run")
    assert loaded.covariates == vae.covariates
    assert loaded.missing
    torch.manual_seed(0)
    one = vae.sample(3, condition={"site": 2, "age": [1, 2, 3]})
    torch.manual_seed(0)
    torch.testing.assert_close(loaded.sample(3, condition={"site": "2", "age": [1, 2, 3]}), one)
    weighted = vaeflow.evaluate(loaded, data(loaded), samples=5, progress=False)
    plain = data(loaded)
    plain = vaeflow.evaluate(loaded, Examples(plain.x, plain.condition), samples=5, progress=False)
    assert weighted.elbo.mean != plain.elbo.mean


def test_gaps_are_refused_where_they_are_not_asked_for():
    vae = vaeflow.build((6,), likelihood="gaussian")
    with pytest.raises(DataError, match=r"x\[\d+, \d\] is nan: .*missing ones by --missing mask"):
        vaeflow.fit(vae, data(model()).x, epochs=1)
