"""The loop: what it reports is what it did."""

import math

import pytest
import torch
from torch import nn

import vaeflow
from vaeflow.config.settings import Settings
from vaeflow.data.binarization import prepare_split
from vaeflow.data.splits import Splits
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError, DataError, NonFiniteError, PluginError
from vaeflow.evaluation.active_units import active_units
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.fit import fit
from vaeflow.training.optimizers import make_optimizer, make_schedule
from vaeflow.training.validation import validate

SHAPE = (1, 4, 4)


def model(posterior=Identity, likelihood=None, **options):
    torch.manual_seed(0)
    likelihood = likelihood or Bernoulli(SHAPE)
    return VAE(
        Encoder(SHAPE, hidden=(16,)),
        posterior(3, 16, **options),
        Normal(3, SHAPE),
        Decoder(3, likelihood.output_shape, hidden=(16,)),
        likelihood,
    )


def images(n, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def run(vae=None, n=50, **settings):
    settings = {"epochs": 2, "batch_size": 20, "device": "cpu", **settings}
    return fit(vae or model(), images(n), images(20, 1), binarization="dynamic", **settings)


def test_the_terms_add_up():
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


def test_the_loss_leaves_the_gaussian_constant_out():
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


def test_beta_warms_up_by_steps_and_the_reported_elbo_does_not():
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


def test_weights_from_within_a_warm_up_of_steps_are_not_the_best():
    late = run(epochs=3, objective=ELBO(warmup=7, warmup_unit="steps"))  # over after 2⅓ epochs
    assert late.progress.best_epoch == 3
    assert run(epochs=3, objective=ELBO()).progress.best_epoch <= 3


def test_dequantized_data_gets_new_noise_at_every_visit_and_the_same_in_validation():
    levels = (images(40) * 3).round() / 3
    vae = model(likelihood=Gaussian(SHAPE, sigma=0.3))
    trainer = prepare_trainer(vae, levels, levels[:10], dequantize=4)
    first, second = (trainer.data.redraw(trainer.data.train) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal((first * 4).floor(), (levels * 3).round())
    assert torch.equal(trainer.data.validation, prepare_split(levels[:10], "none", 4))
    with pytest.raises(DataError, match="--dequantize 4 needs the values k/3"):
        prepare_trainer(vae, images(40), dequantize=4)


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


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential", "milestones"])
def test_a_replayed_schedule_has_the_same_rate(schedule):
    settings = Settings(schedule=schedule, epochs=10, lr_milestones=(3, 6))
    rates = []
    parameters = [nn.Parameter(torch.ones(2))]
    optimizer = make_optimizer(parameters, settings)
    stepped = make_schedule(optimizer, settings)
    for epoch in range(10):
        replayed = make_schedule(make_optimizer(parameters, settings), settings, epoch)
        assert replayed.get_last_lr() == stepped.get_last_lr()
        rates.append(stepped.get_last_lr()[0])
        optimizer.step()
        stepped.step()
    assert (len(set(rates)) > 1) == (schedule != "constant")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "rmsprop"])
def test_every_optimizer_trains(optimizer):
    before = model().state_dict()
    vae = model()
    run(vae, optimizer=optimizer, epochs=1, eps=1e-6)
    assert any(not torch.equal(before[k], v) for k, v in vae.state_dict().items())


class Exploding(Posterior):
    """Finite on the first batch, infinite later."""

    def __init__(self, latent, features, *, after):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.calls = 0
        self.after = after

    def forward(self, h):
        self.calls += 1
        loc, log_variance = self.head(h).chunk(2, -1)
        if self.calls > self.after:
            loc = loc * float("inf")
        return Flow(DiagonalNormal(loc, log_variance), [])


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path):
    settings = Settings(epochs=5, batch_size=20, checkpoint_seconds=0, device="cpu")
    store = CheckpointStore(tmp_path / "c")
    trainer = prepare_trainer(
        model(Exploding, after=6), images(50), binarization="dynamic", settings=settings
    )
    with pytest.raises(NonFiniteError, match=r"at step 5: lower --lr"):
        trainer.run(store=store)
    # Two of the calls are the first pass; the checkpoint is that of the epoch before.
    kept = store.latest()
    assert kept.step == 3
    assert all(torch.isfinite(v).all() for v in kept.tensors["model"].values())


class Wrong(Identity):
    """Breaks the contract as it is told."""

    def __init__(self, latent, features, *, how):
        super().__init__(latent, features)
        self.how = how

    def forward(self, h):
        q = super().forward(h)
        if self.how == "raises":
            raise ValueError("no such thing")
        if self.how == "batch":
            return DiagonalNormal(q.loc[:1], q.log_scale[:1])
        return DiagonalNormal(q.loc[..., :2], q.log_scale[..., :2])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raises", r"posterior Wrong failed on a first batch \(ValueError: no such thing\)"),
        ("batch", r"posterior Wrong: q\(z\|x\)'s batch shape has shape \(1,\), but \(2,\)"),
        ("event", r"posterior Wrong: q\(z\|x\)'s event shape has shape \(2,\), but \(3,\)"),
    ],
)
def test_a_part_that_breaks_its_contract_is_named_at_once(how, told):
    with pytest.raises(PluginError, match=told):
        run(model(Wrong, how=how))


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


def test_active_units_are_those_that_follow_the_data():
    vae = model()
    with torch.no_grad():
        vae.posterior.head.weight.zero_()
        vae.posterior.head.weight[0] = 1.0  # the first latent's mean alone depends on x
        torch.manual_seed(0)
        x = torch.rand(1000, *SHAPE).round()
        assert active_units(vae, x) == 1
        vae.posterior.head.weight.zero_()
        assert active_units(vae, x) == 0


def test_splits_know_their_content():
    x = images(6)
    a, b = Splits(x[:2], x[2:4], x[4:]), Splits(x[:2], x[2:4], x[4:] + 1e-6)
    assert a.fingerprint() == Splits(x[:2], x[2:4], x[4:]).fingerprint() != b.fingerprint()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_runs_on_cuda():
    records = run(model(Planar, steps=2), n=200, epochs=30, lr=1e-2, device="cuda").records
    assert records[-1]["train/elbo"] > records[0]["train/elbo"]


def test_the_public_names():
    assert vaeflow.VAE is VAE
    assert vaeflow.fit is fit
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vaeflow.nothing


def test_a_binarization_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="'dynamc' is unknown; give none, dynamic, threshold"):
        fit(model(), images(10), binarization="dynamc", device="cpu")


def test_validation_that_is_not_finite_stops_the_run():
    vae = model(likelihood=Gaussian(SHAPE))
    with pytest.raises(NonFiniteError, match="on the validation data"):
        fit(vae, images(20), images(5) * 3e38, epochs=1, device="cpu")


def test_weights_that_the_last_update_lost_are_told():
    settings = {"epochs": 1, "optimizer": "rmsprop", "lr": 1e38, "eps": 1e-30, "device": "cpu"}
    with pytest.raises(NonFiniteError, match=r"epoch 1, in \w+\."):
        fit(model(), images(20), binarization="dynamic", **settings)


def test_early_stopping_needs_validation_data():
    with pytest.raises(ConfigError, match="needs validation data"):
        fit(model(), images(10), binarization="dynamic", early_stopping=2, device="cpu")


@pytest.mark.parametrize("kind", [torch.float64, torch.uint8, torch.bool])
def test_data_of_another_type_than_the_weights_is_told(kind):
    with pytest.raises(DataError, match=f"is {kind}, but the model's weights are torch.float32"):
        prepare_trainer(model(), images(10).to(kind))


def test_the_outcome_is_a_snapshot():
    vae = model()
    x = (images(20) > 0.5).float()
    best = fit(vae, x, epochs=1, device="cpu").best
    before = {k: v.clone() for k, v in best.items()}
    fit(vae, x, epochs=2, device="cpu")
    assert all(torch.equal(before[k], v) for k, v in best.items())


class Unpathed(Posterior):
    """A mixture, which torch cannot draw from with gradients."""

    def forward(self, h):
        from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

        weights = Categorical(logits=torch.zeros(len(h), 2))
        parts = Independent(Normal(torch.zeros(len(h), 2, self.latent), 1.0), 1)
        return MixtureSameFamily(weights, parts)


def test_a_distribution_without_rsample_is_named():
    with pytest.raises(PluginError, match="posterior Unpathed: its MixtureSameFamily cannot"):
        run(model(Unpathed))


def test_the_check_before_training_is_no_training_batch():
    likelihood = Gaussian(SHAPE, scale="optimal", sigma=2.0)
    trainer = prepare_trainer(
        model(likelihood=likelihood), images(40), settings=Settings(batch_size=20)
    )
    assert likelihood.batches.item() == 0
    assert likelihood.variance.item() == 4.0
    trainer.run()
    assert likelihood.batches.item() == 2 * trainer.settings.epochs
