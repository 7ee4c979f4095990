"""The loop: its records agree with its steps."""

import math

import pytest
import torch
from small_vae import SHAPE, images, model, run
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.training import prepare_trainer
from vaeflow.training.fit import fit
from vaeflow.training.validation import validate


def test_the_terms_add_up_to_the_elbo_and_the_kl():
    for record in run(model(Planar, steps=2)).records:
        for split in ("train", "validation"):
            r = {k.partition("/")[2]: v for k, v in record.items() if k.startswith(split)}
            assert r["elbo"] == pytest.approx(r["log_px"] - r["kl"], rel=1e-9)
            assert r["kl"] == pytest.approx(r["log_q0"] - r["log_det"] - r["log_pz"], rel=1e-9)
        # At β = 1 and with one sample the objective is the ELBO.
        assert record["train/loss"] == pytest.approx(-record["train/elbo"], rel=1e-5)


@pytest.mark.parametrize("samples", [1, 3])
def test_every_image_counts_once_whatever_the_batch_and_the_samples(samples):
    """With weights that do not move, the mean over an epoch is the mean over the images."""
    x = (images(50) > 0.5).float()
    # A posterior without noise: its scale is e^-20.
    vae = model()
    with torch.no_grad():
        vae.posterior.head.weight.zero_()
        vae.posterior.head.bias[3:] = -40.0
        expected = vae(x).log_px.mean().item()
    for batch_size in (1, 7, 50, 100):
        records = fit(
            vae, x, objective=ELBO(samples=samples), epochs=1, batch_size=batch_size, lr=1e-30,
            device="cpu",
        ).records  # fmt: skip
        assert records[0]["train/log_px"] == pytest.approx(expected, rel=1e-5)
        # At β = 1 the objective is the ELBO.
        assert records[0]["train/loss"] == pytest.approx(-records[0]["train/elbo"], rel=1e-5)
        assert records[0]["step"] == math.ceil(50 / batch_size)


def test_the_loss_leaves_out_the_constant_of_the_gaussian():
    """loss = Σ(x − x̂)²/0.5 + KL for σ = ½, and −ELBO differs by F/2·log(π/2)."""
    vae = model(likelihood=Gaussian(SHAPE, sigma=0.5, link="sigmoid"))
    record = fit(vae, images(40), epochs=1, lr=1e-30, device="cpu").records[0]
    constant = 16 / 2 * math.log(math.pi / 2)
    assert record["train/loss"] == pytest.approx(-record["train/elbo"] - constant, rel=1e-5)
    with torch.no_grad():
        x = images(40)
        p = vae.generate(vae.infer(x).rsample((200,)))
        error = (p.mean - x).square().flatten(2).sum(-1).mean() / 0.5
    assert record["train/loss"] - record["train/kl"] == pytest.approx(error.item(), abs=0.3)


def test_training_raises_the_bound():
    # Two kinds of image, one the negative of the other: ln 2 nats, where noise has 16 ln 2.
    x = torch.zeros(100, *SHAPE)
    x[::2, :, :2], x[1::2, :, 2:] = 1, 1
    records = fit(model(), x, epochs=30, batch_size=20, lr=1e-2, device="cpu").records
    assert records[0]["train/elbo"] < -9
    assert -2 < records[-1]["train/elbo"] < -math.log(2) + 0.05


def test_beta_warms_up_within_an_epoch_and_the_reported_elbo_has_none():
    vae = model()
    record = fit(
        vae, (images(40) > 0.5).float(), objective=ELBO(warmup=4.0), epochs=1, device="cpu"
    ).records[0]
    assert record["beta"] == 0.25
    # One step, at the end of the first epoch of four: loss = −(log p(x|z) − ¼ KL).
    loss = -(record["train/log_px"] - 0.25 * record["train/kl"])
    assert record["train/loss"] == pytest.approx(loss, rel=1e-5)


def test_beta_warms_up_by_the_count_of_steps():
    """50 images in batches of 20 are 3 steps an epoch."""
    records = run(epochs=4, objective=ELBO(warmup=6, warmup_unit="steps", beta=2.0)).records
    assert [r["beta"] for r in records] == pytest.approx([1.0, 2.0, 2.0, 2.0])
    records = run(epochs=4, objective=ELBO(warmup=3, warmup_unit="steps", cycles=2)).records
    assert [r["beta"] for r in records] == pytest.approx([1.0, 1.0, 1.0, 1.0])


def test_weights_from_a_warm_up_of_steps_are_never_the_best():
    late = run(epochs=3, objective=ELBO(warmup=7, warmup_unit="steps"))  # over after 2⅓ epochs
    assert late.progress.best_epoch == 3
    assert run(epochs=3, objective=ELBO()).progress.best_epoch <= 3


def test_the_same_seed_repeats_a_run_and_another_does_not():
    first, second, other = (run(seed=s).records[-1]["train/loss"] for s in (5, 5, 6))
    assert first == second
    assert first != other


def test_early_stopping_waits_for_the_warm_up():
    class Worse(ELBO):
        """Pulls the model away from the data."""

        def __call__(self, terms, beta):
            return -super().__call__(terms, beta)

    for warmup, stopped in ((0.0, 3), (4.0, 6)):
        fitted = fit(
            model(),
            (images(40) > 0.5).float(),
            (images(20, 1) > 0.5).float(),
            objective=Worse(warmup=warmup),
            epochs=50,
            early_stopping=2,
            lr=1e-2,
            device="cpu",
        )
        assert len(fitted.records) == stopped
        assert fitted.progress.best_epoch == max(1, int(warmup))


def test_the_best_weights_are_those_of_the_best_epoch():
    fitted = run(n=30, epochs=40, lr=3e-2)
    elbos = [r["validation/elbo"] for r in fitted.records]
    best = max(range(len(elbos)), key=elbos.__getitem__)
    assert fitted.progress.best_epoch == best + 1
    vae = model()
    vae.load_state_dict(fitted.best)
    from vaeflow.data.binarization import binarize
    from vaeflow.runtime.noise import Noise

    with Noise(0, torch.device("cpu")).private("validation"):
        terms = validate(vae, binarize(images(20, 1), "dynamic"))
    assert terms["objective"] == pytest.approx(elbos[best], rel=1e-6)


def test_clipping_bounds_the_gradient():
    vae = model()
    trainer = prepare_trainer(
        vae, images(40), binarization="dynamic", settings=Settings(clip=0.01, lr=1.0)
    )
    trainer.step(torch.arange(40), torch.tensor(1.0))
    norm = nn.utils.get_total_norm([p.grad for p in vae.parameters()])
    assert norm.item() == pytest.approx(0.01, rel=1e-3)
    assert trainer.eager.sums.grad_norm > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_runs_on_cuda():
    records = run(model(Planar, steps=2), n=200, epochs=30, lr=1e-2, device="cuda").records
    assert records[-1]["train/elbo"] > records[0]["train/elbo"]


def test_the_best_weights_are_copies():
    vae = model()
    x = (images(20) > 0.5).float()
    best = fit(vae, x, epochs=1, device="cpu").best
    before = {k: v.clone() for k, v in best.items()}
    fit(vae, x, epochs=2, device="cpu")
    assert all(torch.equal(before[k], v) for k, v in best.items())
