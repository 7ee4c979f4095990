"""Several ranks train as one process does: their gradients, records, stops and checkpoints.

Run as a script, this file is one of two ranks, which writes its results for the tests.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from vaeflow.config.settings import Settings
from vaeflow.data.columns import Column, Columns
from vaeflow.data.examples import Examples, as_examples
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation.active_units import active_units
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.evaluation.shares import evaluate_shared
from vaeflow.latents.codes import encode_examples
from vaeflow.model import VAE, seen_shape
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.objectives.iwae import IWAE, DReG
from vaeflow.parts.objectives.stl import STL
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.parts.priors.vamp import Vamp
from vaeflow.reading import unsealed
from vaeflow.runtime.ranks import Ranks, World, world
from vaeflow.testing.noise import GivenNoise
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.checkpoints import read as read_checkpoint
from vaeflow.training.saver import Saver
from vaeflow.training.validation import validate

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)
SHAPE = (1, 3, 3)
LATENT = 2
TIMES = ("seconds", "images_per_second")


class Spare(Decoder):
    """Has a parameter that no loss reaches."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.spare = nn.Parameter(torch.ones(3))


SITES = Columns((Column("site", "category", levels=("n", "s")),))


def model(posterior=Identity, prior=Normal, likelihood=Bernoulli, *, beside=False, **options):
    """Return a small model; with `beside`, of data with gaps and a covariate."""
    torch.manual_seed(3)
    covariates, more = (SITES, 2) if beside else (None, 0)
    seen = seen_shape(SHAPE, missing=beside)
    return VAE(
        Encoder(seen, hidden=(8,)),
        posterior(LATENT, 8 + more),
        prior(LATENT, seen),
        Spare(LATENT + more, SHAPE, hidden=(8,)),
        likelihood(SHAPE, **options),
        missing=beside,
        covariates=covariates,
    )


def images(n):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))


# What both a process alone and each of two ranks do. A batch of one image leaves rank 1 none.
BATCHES = [torch.arange(12), torch.arange(5, 6), torch.arange(3, 10)]
CASES = {
    "elbo": (ELBO(samples=3), Normal, None),
    "clipped": (ELBO(samples=3), Normal, 0.1),
    "iwae": (IWAE(samples=3), Vamp, None),
    "dreg": (DReG(samples=3), Vamp, None),
    "stl": (STL(samples=3), Vamp, None),
    "beside": (ELBO(samples=3), Normal, None),
}


def gradients(case):
    """Take three steps with given noise; return each gradient, and the sums over the images."""
    objective, prior, clip = CASES[case]
    vae = model(prior=prior, beside=case == "beside").double()
    x = (images(12) > 0.5).double()
    if case == "beside":
        gaps = torch.where(images(24)[12:] < 0.2, torch.nan, x)
        weight = torch.linspace(0, 2, 12).double()
        x = Examples(gaps, (torch.arange(12) % 2)[:, None].double(), weight)
    trainer = prepare_trainer(
        vae, x, objective=objective, settings=Settings(device="cpu", clip=clip, lr=1e-2)
    )
    noise = torch.randn(3, 12, LATENT, dtype=torch.float64, generator=torch.Generator())
    seen = {}
    for i, batch in enumerate(BATCHES):
        with GivenNoise(noise[:, trainer.world.share(batch).images]):
            trainer.step(batch, torch.tensor(1.0))
        slopes = {n: p.grad for n, p in vae.named_parameters() if p.grad is not None}
        seen |= {f"{i}.{name}": slope.clone() for name, slope in slopes.items()}
        seen[f"{i}.norm"] = trainer.eager.sums.grad_norm.clone()
    seen["totals"] = trainer.world.sum(trainer.eager.sums.totals.clone())
    return seen


def validation(n):
    """Validate n images with noise that is a function of the image."""
    x, here = (images(n) > 0.5).float(), world()
    vae = model()
    with torch.no_grad(), GivenNoise(torch.linspace(-1, 1, n * LATENT).view(1, n, LATENT)) as given:
        given.noise = here.part(given.noise[0])[None]
        given.used = 0 if given.noise.numel() else LATENT
        terms = validate(vae, x, here)
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in terms.items()}


def active(n):
    vae = model()
    with torch.no_grad():
        vae.posterior.head.weight.zero_()
        vae.posterior.head.weight[0] = 1.0  # the first latent's mean alone depends on x
        torch.manual_seed(0)
        return {"units": torch.tensor(active_units(vae, images(n), world()).active)}


def codes(n):
    """Encode n images: their means, and draws with their scores."""
    vae = model(IAF)
    mean, _ = encode_examples(vae, as_examples(images(n)), seed=3, world=world())
    z, log_q = encode_examples(vae, as_examples(images(n)), draws=2, seed=3, world=world())
    bounds = evaluate_shared(
        vae, as_examples((images(n) > 0.5).float()), world(), samples=2, proposal="q",
        precision=Precision(),
    )  # fmt: skip
    return {
        "mean": mean, "z": z, "log_q": log_q, "elbo": bounds.elbo.values, "nll": bounds.nll.values,
        "nll error": bounds.nll.errors, "draws": bounds.draws,
    }  # fmt: skip


SETTINGS = Settings(epochs=3, batch_size=8, clip=5.0, checkpoint_seconds=0, device="cpu", lr=1e-2)


class StopAt:
    """Asks to stop before a step, on the last rank alone."""

    def __init__(self, step):
        self.left = step if world().rank == world().count - 1 else -1

    def __call__(self):
        self.left -= 1
        return self.left == -1


def trained(store=None, stop_at=None, restore=None):
    """Train on 25 images, in three batches of eight and one of one; return all there is."""
    t = prepare_trainer(
        model(IAF, likelihood=Gaussian, scale="optimal"),
        images(25),
        images(36)[25:],
        objective=ELBO(warmup=1.0),
        settings=SETTINGS,
    )
    if restore:
        torch.manual_seed(99)  # a new process has another global generator
        t.restore(restore.latest())
    fitted = t.run((), store, StopAt(stop_at) if stop_at is not None else lambda: False)
    numbers = {
        f"{r['epoch']}.{k}": torch.tensor(v, dtype=torch.float64)
        for r in fitted.records
        for k, v in r.items()
        if k not in TIMES
    }
    weights = {f"last.{k}": v.clone() for k, v in t.model.state_dict().items()}
    best = {f"best.{k}": v for k, v in fitted.best.items()}
    return {"step": torch.tensor(fitted.progress.step), **numbers, **weights, **best}


def draws():
    """Return what the first batch looks like after a binarization of grey ½, and its indices."""
    t = prepare_trainer(
        model(), torch.full((24, *SHAPE), 0.5), binarization="dynamic", settings=SETTINGS
    )
    seen = []
    redraw, share = t.step.redraw, t.world.share

    def noting(batch):
        seen.append(share(batch))
        return seen[-1]

    t.world.share = noting
    t.step.redraw = lambda x: seen.append(redraw(x)) or seen[-1]
    t.run(stop=StopAt(3))
    del t.world.share
    return {
        "images": torch.cat([s.images for s in seen[::2]]),
        "binarized": torch.cat(seen[1::2]),
        "order": t.noise.order(0, 24),
    }


class Lost(ELBO):
    """Is not a number on the last rank, at its fourth step."""

    calls = -1  # the first pass is none

    def __call__(self, terms, beta):
        self.calls += 1
        value = super().__call__(terms, beta)
        return value * float("nan") if self.calls == 4 and world().rank else value


def lost():
    x = (images(24) > 0.5).float()
    try:
        prepare_trainer(model(), x, objective=Lost(), settings=SETTINGS).run()
    except NonFiniteError as error:
        return {"at step 4": torch.tensor("at step 4" in str(error))}
    return {}


def skipping():
    """Skip the step in which the loss of one rank is lost; return where that leaves the rank."""
    x = (images(24) > 0.5).float()
    settings = SETTINGS.model_copy(update={"on_nonfinite": "skip:1"})
    t = prepare_trainer(model(), x, objective=Lost(), settings=settings)
    t.run()
    weights = {k: v.clone() for k, v in t.model.state_dict().items()}
    return {"skipped": torch.tensor(t.progress.skipped), **weights}


def saved_within(folder):
    """Save within the epochs, where the clock of the last rank alone says so."""
    store = CheckpointStore(folder / "within", keep=100)
    Saver.within = 0.0 if world().rank else 1e9
    seen = trained(store)
    Saver.within = 10.0
    dist.barrier()  # until the first rank has written
    return seen, trained(restore=One(store.root / "step-00000006"))


class One:
    """A store of one checkpoint."""

    def __init__(self, path):
        self.path = path

    def latest(self):
        return read_checkpoint(self.path)


def work(folder):
    """Do everything as a rank, and save it."""
    store = CheckpointStore(folder / "checkpoints")
    seen = {f"gradients.{case}": gradients(case) for case in CASES}
    seen |= {f"validation.{n}": validation(n) for n in (1, 37)}
    seen |= {f"active.{n}": active(n) for n in (2, 301)}
    seen |= {f"codes.{n}": codes(n) for n in (1, 250)}
    seen |= {"draws": draws(), "lost": lost(), "whole": trained()}
    seen["stopped"] = trained(store, stop_at=6)
    seen["resumed"] = trained(restore=store)
    seen["skipping"] = skipping()
    seen["within"], seen["resumed within"] = saved_within(folder)
    torch.save(seen, folder / f"{world().rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two ranks saw, which meet at a file."""
    folder = tmp_path_factory.mktemp("ranks")
    store = CheckpointStore(folder / "checkpoints")
    argv = [sys.executable, "-W", "error", __file__, str(folder)]
    both = [subprocess.Popen([*argv, str(r)], stderr=subprocess.PIPE, text=True) for r in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "".join(errors)
    seen = [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(2)]
    # A process alone goes on where the two were stopped, which is not bit for bit.
    seen[0]["alone"] = trained(restore=store)
    return seen


def assert_close(one, other, tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance, msg=name)


def same(one, other):
    assert one.keys() == other.keys()
    assert [k for k, v in one.items() if not torch.equal(v, other[k])] == []


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_have_the_gradient_of_the_whole_batch(ranks, case):
    alone = gradients(case)
    assert len(alone) > 3 * 8
    for rank in ranks:
        assert_close(rank[f"gradients.{case}"], alone, 1e-12)


@pytest.mark.parametrize("n", [1, 37])
def test_a_validation_of_odd_size_is_the_mean_over_its_images(ranks, n):
    for rank in ranks:
        assert_close(rank[f"validation.{n}"], validation(n), 1e-6)


@pytest.mark.parametrize("n", [2, 301])
def test_active_units_are_counted_over_all_ranks(ranks, n):
    assert [int(rank[f"active.{n}"]["units"]) for rank in ranks] == [int(active(n)["units"])] * 2
    assert int(active(301)["units"]) == 1


@pytest.mark.parametrize("n", [1, 250])
def test_codes_and_scores_are_those_of_one_process_to_the_bit(ranks, n):
    for rank in ranks:
        same(rank[f"codes.{n}"], codes(n))


def test_every_rank_has_other_images_and_other_noise(ranks):
    first, second = (rank["draws"] for rank in ranks)
    assert torch.equal(first["order"], second["order"])
    assert sorted(torch.cat([first["images"], second["images"]]).tolist()) == list(range(24))
    assert first["binarized"].shape == second["binarized"].shape
    agree = (first["binarized"] == second["binarized"]).float().mean().item()
    assert 0.3 < agree < 0.7


def test_the_ranks_end_with_the_same_weights_and_records(ranks):
    same(ranks[0]["whole"], ranks[1]["whole"])
    # Other noise than alone, but as good.
    assert ranks[0]["whole"]["3.train/elbo"] == pytest.approx(
        trained()["3.train/elbo"].item(), abs=1.5
    )


def test_ranks_stopped_by_one_of_them_and_resumed_are_exact(ranks):
    for rank in ranks:
        assert rank["stopped"]["step"] == 6
        epoch = {k: v for k, v in rank["stopped"].items() if k.startswith("1.")}
        ends = {k: v for k, v in rank["resumed"].items() if not k.startswith("1.")}
        same({**ends, **epoch}, rank["whole"])


def test_a_process_alone_goes_on_where_two_ranks_stopped(ranks):
    alone, whole = ranks[0]["alone"], ranks[0]["whole"]
    assert alone["step"] == whole["step"]
    # The sums over the epoch's first steps are those of both ranks; without them it would be less.
    for epoch in (2, 3):
        name = f"{epoch}.train/log_px"
        assert alone[name].item() == pytest.approx(whole[name].item(), rel=0.1)


def test_an_infinite_loss_on_one_rank_stops_both_at_the_same_step(ranks):
    assert [rank["lost"] for rank in ranks] == [{"at step 4": torch.tensor(True)}] * 2


def test_two_ranks_skip_the_step_in_which_one_of_them_is_lost(ranks):
    assert ranks[0]["skipping"]["skipped"] == 1
    same(ranks[0]["skipping"], ranks[1]["skipping"])
    assert all(v.isfinite().all() for v in ranks[0]["skipping"].values())


def test_ranks_save_within_an_epoch_at_the_same_steps_and_resume_exactly(ranks):
    for rank in ranks:
        same(rank["within"], rank["whole"])
        ends = {k: v for k, v in rank["resumed within"].items() if not k.startswith("1.")}
        epoch = {k: v for k, v in rank["whole"].items() if k.startswith("1.")}
        same({**ends, **epoch}, rank["whole"])


def test_without_a_process_group_there_is_one_rank():
    assert type(world()) is World
    x = torch.arange(5)
    share = World().share(x)
    assert share.images is x
    assert (share.weight, share.counts) == (None, 1)


@pytest.fixture
def group_of_one(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield Ranks()
    dist.destroy_process_group()


def test_devices_that_ranks_cannot_share_are_refused(group_of_one, monkeypatch):
    group_of_one.check(torch.device("cpu"))
    with pytest.raises(ConfigError, match="--device mps: torch trains on several ranks with cpu"):
        group_of_one.check(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    group_of_one.check(torch.device("cuda", 0))
    with pytest.raises(ConfigError, match="--device cuda:1: every rank takes the GPU of its own"):
        group_of_one.check(torch.device("cuda", 1))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="--nproc-per-node 3: this machine has 2 GPUs"):
        group_of_one.check(torch.device("cuda", 0))


def test_a_rank_finds_its_own_state_or_none():
    ranks = [object.__new__(Ranks) for _ in range(3)]
    for number, rank in enumerate(ranks):
        rank.rank = number
    saved = {"cpu": torch.zeros(1), "cpu.1": torch.ones(1)}
    assert [rank.own(saved) for rank in ranks] == [
        {"cpu": saved["cpu"]}, {"cpu": saved["cpu.1"]}, {}
    ]  # fmt: skip


# The command line, by torchrun.
@pytest.fixture
def torchrun(tiny, grey_file):
    """Start `vaeflow WORDS…` on two ranks; to train, the smallest model on 24 images."""
    small = [*tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", str(grey_file)]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]

    def start(command, *words):
        options = [*(small if command == "train" else []), *map(str, words)]
        return subprocess.Popen(
            [sys.executable, *launch, "-m", "vaeflow", command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def read(run, name):
    return unsealed(json.loads((run / name).read_text()))


def test_torchrun_trains_one_run_that_a_signal_stops_and_torchrun_resumes(torchrun, tmp_path):
    run = tmp_path / "run"
    first = torchrun("train", "--run-dir", run, "--epochs", 100000)
    out = ""
    for line in first.stdout:
        out += line
        if line.startswith("epoch") and " 2/" in line:
            break
    first.send_signal(signal.SIGTERM)
    rest, errors = first.communicate(timeout=60)
    assert errors.count(f"go on with: vaeflow resume {run}") == 1
    assert (out + rest).count("run directory ") == 1
    status = read(run, "status.json")
    assert status["state"] == "interrupted"
    assert CheckpointStore(run / "checkpoints").latest().step == status["step"]
    assert read(run, "environment.json")["ranks"] == 2

    epochs = status["epoch"] + 2
    second = torchrun("resume", run, "--epochs", epochs)
    out, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert "Warning" not in errors
    assert out.count(f"epoch {epochs}/{epochs}") == 1
    assert read(run, "status.json")["state"] == "completed"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [*range(1, epochs + 1)]
    assert (run / "summary.json").exists()


FAULTY = """
import os, signal
from vaeflow import hookimpl
from vaeflow.parts.posteriors.identity import Identity

class Faulty(Identity):
    \"\"\"Fails on the second rank.\"\"\"
    calls = 0

    def forward(self, h):
        self.calls += 1
        if self.calls > 20 and os.environ["RANK"] == "1":
            {fault}
        return super().forward(h)

@hookimpl
def vaeflow_register_posteriors(register):
    register("faulty", Faulty)
"""


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise ValueError('no luck')", "posterior 'faulty' from faulty.py"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "is gone without a word, killed or out of memory"),
    ],
    ids=["raises", "killed"],
)
def test_a_rank_that_fails_ends_the_others_and_the_first_says_why(torchrun, tmp_path, fault, told):
    plugin, run = tmp_path / "faulty.py", tmp_path / "run"
    plugin.write_text(FAULTY.format(fault=fault))
    words = ("--epochs", 20, "--plugin", plugin, "--posterior", "faulty", "--run-dir", run)
    _, errors = (process := torchrun("train", *words)).communicate(timeout=60)
    assert process.returncode
    (line,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: rank 1 failed: ")
    assert told in line
    status = read(run, "status.json")
    assert status["state"] == "failed"
    assert told in status["error"]


FAR = """
import os
from vaeflow import hookimpl
from vaeflow.parts.datasets.file import File
from vaeflow.errors import DataError

class Far(File):
    \"\"\"Is not there on the second machine.\"\"\"

    def load(self):
        if os.environ["RANK"] == "1":
            raise DataError("x.npy is missing: put it there")
        return super().load()

@hookimpl
def vaeflow_register_datasets(register):
    register("far", Far)
"""


def test_data_that_one_machine_lacks_is_named_once_and_no_run_is_made(
    torchrun, grey_file, tmp_path
):
    plugin, run = tmp_path / "far.py", tmp_path / "run"
    plugin.write_text(FAR)
    words = ("--plugin", plugin, "--dataset", "far", "--dataset.path", grey_file)
    _, errors = torchrun("train", "--run-dir", run, *words).communicate(timeout=60)
    told = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert told == ["Error: rank 1 failed: x.npy is missing: put it there"]
    assert not run.exists()


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{place}/rendezvous", rank=number, world_size=2
    )
    assert isinstance(world(), Ranks)
    work(place)
    dist.destroy_process_group()
