"""Data that stays in its file is trained on to the same bits as data in memory."""

import numpy as np
import pytest
import torch
from graph_stand_in import Again

import vaeflow
from vaeflow.config.settings import Settings
from vaeflow.data import memory
from vaeflow.data.stored import Stored
from vaeflow.errors import DataError
from vaeflow.evaluation import evaluate
from vaeflow.evaluation.arrays import given
from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.runtime.ranks import Share, World
from vaeflow.training import feed, prepare_trainer
from vaeflow.training.acceleration.captured import Captured
from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.feed import Fed, placed, shares

SHAPE = (1, 4, 4)
LEVELS = np.random.RandomState(0).randint(0, 256, (57, *SHAPE)).astype(np.uint8)
FLOATS = torch.from_numpy(LEVELS.astype(np.float32) / np.float32(255))
CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", LEVELS)
    return Stored(np.load(tmp_path / "x.npy", mmap_mode="r"), 255)


def trainer(x, binarization="dynamic", **settings):
    torch.manual_seed(0)
    vae = VAE(
        Encoder(SHAPE, hidden=(16,)),
        Identity(3, 16),
        Normal(3, SHAPE),
        Decoder(3, SHAPE, hidden=(16,)),
        Bernoulli(SHAPE),
    )
    wanted = {"batch_size": 10, "epochs": 3, "lr": 1e-2, "device": "cpu", **settings}
    return prepare_trainer(vae, x, x[:20], binarization=binarization, settings=Settings(**wanted))


def outcome(trainer, **how):
    fit = trainer.run(**how)
    timeless = ("seconds", "images_per_second")
    records = [{k: v for k, v in r.items() if k not in timeless} for r in fit.records]
    return records, [w.tolist() for w in trainer.model.state_dict().values()]


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr(feed, "fits", lambda nbytes, device: False)


@pytest.mark.parametrize("binarization", ["dynamic", "threshold"])
def test_bytes_in_memory_give_the_losses_of_floats(binarization, mapped):
    resident = trainer(Stored(LEVELS, 255), binarization)
    assert resident.data.train.x.source.dtype == torch.uint8
    loaded = trainer(mapped, binarization)
    assert loaded.data.train.x.resident
    wanted = outcome(trainer(FLOATS, binarization))
    assert outcome(resident) == outcome(loaded) == wanted


@pytest.mark.parametrize("binarization", ["dynamic", "threshold"])
@pytest.mark.usefixtures("no_room")
def test_a_file_that_is_fed_gives_the_losses_of_floats(binarization, mapped):
    fed = trainer(mapped, binarization)
    assert isinstance(fed.data.train.x, Fed)
    assert not fed.data.validation.x.resident
    assert outcome(fed) == outcome(trainer(FLOATS, binarization))


@pytest.mark.usefixtures("no_room")
def test_a_captured_step_finds_each_batch_in_the_same_memory(mapped):
    captured, again = trainer(mapped), Again()
    captured.step = Captured(captured.eager, 10, captured.blame, again)
    assert outcome(captured) == outcome(trainer(FLOATS))
    assert again.repeats


@pytest.mark.usefixtures("no_room")
def test_a_resume_within_an_epoch_goes_on_to_the_bit(mapped, tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    first = trainer(mapped, checkpoint_seconds=0)
    assert first.run(store=store, stop=lambda: first.progress.step == 8).status == "interrupted"
    second = trainer(mapped)
    second.restore(store.latest())
    assert second.progress.batch == 2
    _, weights = outcome(second)
    assert weights == outcome(trainer(FLOATS))[1]


@pytest.mark.usefixtures("no_room")
def test_reads_each_batch_once_and_one_ahead(mapped):
    read = []

    class Spy:
        shape, dtype = mapped.source.shape, mapped.source.dtype

        def __getitem__(self, rows):
            read.append(len(rows))
            return mapped.source[rows]

    fed = Fed(Stored(Spy(), 255), CPU, 10)
    order = torch.randperm(57)
    with fed.following(order.split(10)) as advance:
        for i, batch in enumerate(order.split(10)):
            advance()
            assert torch.equal(fed.index_select(0, batch), FLOATS[batch])
            assert len(read) <= i + 2
    assert read == [10, 10, 10, 10, 10, 7]
    assert torch.equal(fed.index_select(0, order[:3]), FLOATS[order[:3]])  # outside of an epoch


def test_a_failure_to_read_is_told_where_the_batch_is_needed():
    class Broken:
        shape, dtype = (5, 2), np.dtype(np.uint8)

        def __getitem__(self, rows):
            raise DataError("x.npy is gone")

    with (
        pytest.raises(DataError, match="is gone"),
        Fed(Stored(Broken()), CPU, 2).following(torch.arange(5).split(2)) as advance,
    ):
        advance()


def test_the_size_and_the_free_memory_decide(mapped, monkeypatch, caplog):
    monkeypatch.setattr(memory, "free_memory", lambda device: 2 * LEVELS.nbytes)
    assert placed(mapped, CPU, "training").resident
    monkeypatch.setattr(memory, "free_memory", lambda device: 2 * LEVELS.nbytes - 1)
    with caplog.at_level("INFO", "vaeflow"):
        assert placed(mapped, CPU, "training") is mapped
    assert "the free memory of this machine: they stay in their file" in caplog.text
    assert placed(FLOATS, CPU, "training") is FLOATS  # in memory already


def test_limits_of_the_process_count_as_memory(monkeypatch):
    resource = pytest.importorskip("resource")
    before = memory.free_memory(CPU)
    limits = {resource.RLIMIT_AS: 1 << 60, resource.RLIMIT_DATA: 1 << 40}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], limits[which]))
    assert memory.free_memory(CPU) == pytest.approx(before, rel=0.1)
    limits[resource.RLIMIT_DATA] = 1 << 20
    assert memory.free_memory(CPU) == 0


@pytest.mark.usefixtures("no_room")
def test_validation_and_test_data_stay_in_their_file(mapped):
    done = trainer(mapped)
    done.run()
    grey = evaluate(done.model, Stored(mapped.source, 255)[:10], samples=5, proposal="q")
    assert grey.nll == evaluate(done.model, FLOATS[:10], samples=5, proposal="q").nll


def test_a_memmap_that_is_given_in_python_stays_in_its_file(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", FLOATS.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def fitted(x):
        model = vaeflow.build(SHAPE, latent=2, encoder=("mlp", {"hidden": (8,)}))
        return vaeflow.fit(model, x, x[:20], epochs=1, progress=False)

    whole = fitted(FLOATS)
    monkeypatch.setattr(feed, "fits", lambda nbytes, device: False)
    file = fitted(mapped)
    assert not given(file.model, "x", mapped).x.resident
    assert file.data_sha256 == whole.data_sha256
    assert [r["train/elbo"] for r in file.records] == [r["train/elbo"] for r in whole.records]
    assert vaeflow.evaluate(file.model, mapped, samples=2, progress=False, proposal="q").nll == (
        vaeflow.evaluate(whole.model, FLOATS, samples=2, progress=False, proposal="q").nll
    )
    with pytest.raises(DataError, match=r"x has shape \(57, 16\), but the model takes"):
        fitted(mapped.reshape(57, 16))


def test_a_pinned_buffer_is_filled_once_its_copy_to_the_device_is_done(mapped):
    """A stand-in for CUDA, whose copies end when their event says so."""
    told = []

    class Event:
        def __init__(self, number):
            self.number = number

        def record(self):
            told.append(f"copied from {self.number}")

        def synchronize(self):
            told.append(f"waited for {self.number}")

    fed = Fed(mapped, CPU, 10)
    fed._copied = [Event(0), Event(1)]
    batches = torch.arange(50).split(10)
    with fed.following(batches) as advance:
        for batch in batches:
            advance()
            assert torch.equal(fed.index_select(0, batch), FLOATS[batch])
    for number in (0, 1):  # each buffer: filled after a wait, then copied, in turns
        mine = [line.partition(" ")[0] for line in told if line.endswith(str(number))]
        assert mine == ["waited", "copied"] * (len(mine) // 2)


class Odd(World):
    """A rank that takes every other image."""

    def share(self, index):
        return Share(index[1::2])


def test_each_rank_reads_its_share_alone():
    batches = torch.randperm(57).split(10)[2:]
    found = [*shares(batches, Odd())]
    assert [len(share) for share in found] == [5, 5, 5, 3]
    assert all(map(torch.equal, found, (batch[1::2] for batch in batches)))
    assert not [*shares([], Odd())]
