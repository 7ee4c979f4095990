"""Values as they are kept are read as the floats of the whole, wherever they lie."""

import hashlib

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from vaeflow.data import stored
from vaeflow.data.binarization import prepare_split, resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.data.drawn import Drawn
from vaeflow.data.examples import Examples
from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored, ends, has_gaps, mean
from vaeflow.errors import DataError

LEVELS = np.arange(7 * 2 * 3, dtype=np.uint8).reshape(7, 2, 3) * 6
WHOLE = torch.from_numpy(LEVELS.astype(np.float32) / np.float32(255))


@pytest.fixture(params=["memory", "file", "chosen rows"])
def kept(request, tmp_path, monkeypatch):
    """The same seven examples, of which chunks hold two."""
    monkeypatch.setattr(stored, "CHUNK", 2 * 6 * 4)
    if request.param == "memory":
        return Stored(LEVELS, 255)
    np.save(tmp_path / "x.npy", LEVELS[::-1])
    x = Stored(np.load(tmp_path / "x.npy", mmap_mode="r"), 255)
    if request.param == "file":
        np.save(tmp_path / "y.npy", LEVELS)
        return Stored(np.load(tmp_path / "y.npy", mmap_mode="r"), 255)
    return x[torch.arange(6, -1, -1)]


def test_reads_the_same_bits_in_every_way(kept):
    order = torch.tensor([4, 0, 6, 6])
    assert torch.equal(kept.values(), WHOLE)
    assert torch.equal(kept.index_select(0, order), WHOLE[order])
    assert torch.equal(torch.cat(list(kept.split(3))), WHOLE)
    assert torch.equal(kept[2:6][order[:2] // 2].values(), WHOLE[2:6][order[:2] // 2])
    assert torch.equal(kept[1::2].values(), WHOLE[1::2])
    assert torch.equal(kept[torch.tensor([-1, 2])].values(), WHOLE[[-1, 2]])
    assert torch.equal(kept[np.arange(7) > 3].values(), WHOLE[4:])
    assert torch.equal(kept.to("cpu").values(), WHOLE)
    assert kept.shape == WHOLE.shape
    assert ends(kept) == (WHOLE.min(), WHOLE.max())


def test_keeps_bytes_as_bytes(kept):
    assert kept.nbytes == LEVELS.nbytes
    assert kept.to("cpu").source.dtype == torch.uint8


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "float16", ">i2", "uint16", ">f4", "f8"]
)
def test_reads_each_type_as_numpy_does(dtype, tmp_path):
    array = (np.arange(12).reshape(4, 3) % 5).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    mapped = Stored(np.load(tmp_path / "x.npy", mmap_mode="r"), 3)
    assert np.array_equal(mapped.values(), array.astype(np.float32) / np.float32(3))
    assert np.array_equal(Stored(array, 3).values(), mapped.values())
    assert Stored(array).kept_dtype == mapped.kept_dtype


def test_does_not_read_what_is_not_asked_for():
    class Once:
        shape, dtype, read = (1000, 4), np.dtype(np.uint8), 0

        def __getitem__(self, rows):
            found = np.zeros((1000, 4), np.uint8)[rows]
            self.read += len(found)
            return found

    source = Once()
    x = Stored(source)[torch.randperm(1000)][:900][::2]
    assert (len(x), source.read) == (450, 0)
    x.index_select(0, torch.tensor([3, 1]))
    assert source.read == 2
    assert next(iter(x[10:20].split(4))).shape == (4, 4)
    assert source.read == 6


@pytest.mark.parametrize(("how", "levels"), [("dynamic", None), ("threshold", None), ("none", 256)])
def test_an_evaluation_sees_the_draws_of_the_whole(kept, how, levels):
    seen, whole = prepare_split(kept, how, levels), prepare_split(WHOLE, how, levels)
    assert torch.equal(seen.values(), whole)
    assert torch.equal(seen[5:].values(), whole[5:])  # once more, from the middle of the stream
    assert torch.equal(seen.index_select(0, torch.tensor([6, 1])), whole[[6, 1]])


def test_checks_are_those_of_the_whole(kept):
    assert resolve_binarization("auto", kept, constraints.boolean) == "dynamic"
    for support in (constraints.boolean, constraints.nonnegative_integer):
        with pytest.raises(DataError) as told:
            check_values("training", kept, (2, 3), support)
        with pytest.raises(DataError) as expected:
            check_values("training", WHOLE, (2, 3), support)
        found, wanted = str(told.value), str(expected.value)
        if kept.rows is not None:  # the first in the file, which is the last example
            first = WHOLE[6].flatten()[0].item()
            assert found.startswith(f"training example 6 at (0, 0) is {first:g}, which")
            found, wanted = (message.partition(", which")[2] for message in (found, wanted))
        assert found == wanted
    check_values("training", kept, (2, 3), constraints.unit_interval)


def test_splits_read_floats_and_keep_what_they_were_given(kept):
    splits = Splits(kept[:4], kept[4:6], kept[6:], weights={"train": np.arange(4)})
    assert torch.equal(splits.train, WHOLE[:4])
    told = "Splits(train (4, 2, 3), validation (2, …), test (1, …)"
    assert repr(splits).startswith(told)
    examples = splits.examples("train")
    assert examples.x is splits.kept("train")
    assert examples.weight.tolist() == [0, 1, 2, 3]
    assert splits.but(gaps=True).kept("test") is splits.kept("test")
    assert [name for name, x in splits if isinstance(x, torch.Tensor)] == [
        "train", "validation", "test",
    ]  # fmt: skip


def test_the_fingerprint_is_that_of_all_floats_at_once(kept):
    digest = hashlib.sha256()
    for name, x in (("train", WHOLE[:4]), ("validation", WHOLE[4:6]), ("test", WHOLE[6:])):
        digest.update(f"{name}{tuple(x.shape)}".encode())
        digest.update(x.contiguous().numpy().data)
    assert Splits(kept[:4], kept[4:6], kept[6:]).fingerprint() == digest.hexdigest()


def test_examples_choose_without_reading_and_read_batches(kept):
    x = Examples(kept, weight=torch.arange(7.0))
    assert isinstance(x[2:5].x, Stored)
    first, *_ = x[2:5].split(2)
    assert torch.equal(first.x, WHOLE[2:4])
    assert first.weight.tolist() == [2, 3]
    assert torch.equal(x.index_select(0, torch.tensor([1])).x, WHOLE[1:2])
    assert torch.equal(x.values, WHOLE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0])
def test_a_wrong_value_in_a_file_is_found_where_it_lies(bad, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "CHUNK", 2 * 3 * 4)
    x = np.full((9, 3), 0.5, np.float32)
    x[7, 1] = bad
    np.save(tmp_path / "x.npy", x)
    mapped = Stored(np.load(tmp_path / "x.npy", mmap_mode="r"))[torch.tensor([0, 7, 3, 8])]
    with pytest.raises(DataError, match=rf"training example 1 at \(1\) is {bad:g}"):
        check_values("training", mapped, (3,), constraints.unit_interval)
    assert has_gaps(mapped) == np.isnan(bad)
    assert ends(mapped) == (0.5, 0.5 if np.isnan(bad) else bad)
    assert resolve_binarization("auto", mapped, constraints.boolean) == "none"


def test_means_of_large_data_are_added_up_in_float64(kept, monkeypatch):
    assert torch.equal(mean(kept), WHOLE.mean(0))
    monkeypatch.setattr(stored, "_AT_ONCE", 0)
    wanted = WHOLE.double().mean(0)
    torch.testing.assert_close(mean(kept).double(), wanted, rtol=1e-7, atol=0)


def test_bytes_are_checked_by_their_ends_alone(kept, monkeypatch):
    assert kept.levels.tolist() == (torch.arange(0, 247).float() / 255).tolist()
    monkeypatch.setattr("vaeflow.data.checks.chunks", None)  # no value is looked at
    check_values("training", kept, (2, 3), constraints.unit_interval)


def test_a_very_large_file_is_known_by_its_bytes_and_order(kept, monkeypatch):
    def fingerprint(x):
        return Splits(x[:4], x[4:6], x[6:]).fingerprint()

    floats = fingerprint(kept)
    monkeypatch.setattr("vaeflow.data.splits._LARGE", 0)
    assert (fingerprint(kept) == floats) == kept.resident
    order = torch.tensor([1, 0, *range(2, 7)])
    others = (kept[order], Stored(kept.source, 16, kept.rows))
    found = {fingerprint(x) for x in (kept, *others)}
    assert len(found) == 3


def test_draws_are_known_to_be_binary_without_a_look(kept):
    seen = Stored(Drawn(kept, None, 0, np.uint8))  # drawing fails
    check_values("test", seen, (2, 3), constraints.boolean)
