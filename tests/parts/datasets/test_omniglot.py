"""Omniglot from files of the true format and size: the split, the orientation, other files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from vaeflow.errors import DataError
from vaeflow.parts.datasets.omniglot import Omniglot
from vaeflow.testing import check

N, M = 24_345, 8_070
ALPHABETS, TEST_ALPHABETS = np.arange(N) % 50, np.arange(M) % 47


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with a file of 784×24,345 and 784×8,070 numbers in [0, 1]."""
    rng = np.random.RandomState(0)
    data, test = (rng.randint(0, 5, (784, n)).astype(np.float32) / 4 for n in (N, M))
    root = tmp_path_factory.mktemp("root")
    marked = {"target": ALPHABETS, "testtarget": TEST_ALPHABETS}
    marked = {name: np.eye(50, dtype=np.uint8)[:, numbers] for name, numbers in marked.items()}
    savemat(root / "chardata.mat", {"data": data, "testdata": test, **marked})
    return root


@pytest.fixture(autouse=True)
def _offline(cache):
    pass


def test_the_split_equals_that_of_the_code_of_the_iwae(root):
    """Split as that code does, with NumPy alone: shuffle rows with seed 123, hold the last back."""
    splits = Omniglot(root).load()
    raw = loadmat(root / "chardata.mat")

    def pictures(x):
        return x.T.reshape(-1, 28, 28).reshape((-1, 784), order="F").reshape(-1, 1, 28, 28)

    everything = pictures(raw["data"])[np.random.RandomState(seed=123).permutation(N)]
    assert np.array_equal(splits.train, everything[:-1345])
    assert np.array_equal(splits.validation, everything[-1345:])
    assert np.array_equal(splits.test, pictures(raw["testdata"]))
    assert [len(x) for _, x in splits] == [23_000, 1_345, 8_070]
    assert splits.train.dtype == torch.float32
    assert splits.train.is_contiguous()


def test_alphabets_go_with_their_characters(root):
    splits = Omniglot(root).load()
    shuffled = ALPHABETS[np.random.RandomState(seed=123).permutation(N)]
    labels = {split: named["label"] for split, named in splits.labels.items()}
    assert np.array_equal(labels["train"], shuffled[:-1345])
    assert np.array_equal(labels["validation"], shuffled[-1345:])
    assert np.array_equal(labels["test"], TEST_ALPHABETS)


def test_it_passes_the_checks_of_a_dataset(root, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DATA", str(root))
    check("dataset", Omniglot)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"data": np.zeros((784, N))}, "holds data, but testdata is needed"),
        ({"data": np.zeros((784, 9)), "testdata": np.zeros((784, M))}, "data is 784×9 double"),
    ],
    ids=["missing", "short"],
)
def test_another_file_is_refused(tmp_path, arrays, told, one_sentence, cache):
    savemat(tmp_path / "chardata.mat", arrays, do_compression=True)
    with pytest.raises(DataError, match=told) as caught:
        Omniglot(tmp_path).load()
    one_sentence(str(caught.value))
    assert not list(cache.rglob("*.sha256"))


def test_grey_levels_of_bytes_are_refused(tmp_path):
    zeros = np.zeros((784, M), np.uint8)
    savemat(
        tmp_path / "chardata.mat", {"data": np.full((784, N), 255, np.uint8), "testdata": zeros}
    )
    with pytest.raises(DataError, match=r"data has values from 255 to 255, but \[0, 1\]"):
        Omniglot(tmp_path).load()


def test_its_checksum_is_recorded(root, cache, caplog):
    Omniglot(root).load()
    assert (cache / "omniglot" / "chardata.mat.sha256").is_file()
    assert "no published checksum of chardata.mat is known" in caplog.text


def test_a_missing_file_is_an_error(tmp_path, one_sentence):
    with pytest.raises(DataError, match=r"holds no chardata\.mat: give the directory") as caught:
        Omniglot(tmp_path).load()
    one_sentence(str(caught.value))
