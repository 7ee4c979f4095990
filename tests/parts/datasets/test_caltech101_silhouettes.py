"""The silhouettes from files of the true format and size."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vaeflow.errors import DataError
from vaeflow.parts.datasets.caltech101_silhouettes import Caltech101Silhouettes
from vaeflow.testing import check

NAME = "caltech101_silhouettes_28_split1.mat"
SIZES = {"train_data": 4_100, "val_data": 2_264, "test_data": 2_307}


@pytest.fixture
def save(tmp_path, monkeypatch, cache):
    """Write a file and make its checksum the published one."""

    def write(**changes):
        rng = np.random.RandomState(0)
        arrays = {name: rng.randint(0, 2, (n, 784)).astype(np.uint8) for name, n in SIZES.items()}
        savemat(tmp_path / NAME, {**arrays, "train_labels": np.ones((4_100, 1)), **changes})
        md5 = hashlib.md5((tmp_path / NAME).read_bytes()).hexdigest()
        origin = dataclasses.replace(Caltech101Silhouettes.origin, checksums={NAME: md5})
        monkeypatch.setattr(Caltech101Silhouettes, "origin", origin)
        return tmp_path

    return write


def test_objects_are_upright_and_one(save):
    """Read the arrays as the code of Sylvester flows does, with NumPy alone."""
    root = save()
    raw = loadmat(root / NAME)
    for (_, x), (name, n) in zip(Caltech101Silhouettes(root).load(), SIZES.items(), strict=True):
        expected = 1.0 - raw[name].astype("float32").reshape(-1, 28, 28).reshape(
            (-1, 784), order="F"
        )
        assert x.shape == (n, 1, 28, 28)
        assert np.array_equal(x.reshape(n, 784), expected)


def test_classes_go_with_their_objects(save):
    rng = np.random.RandomState(1)
    numbers = {name.replace("data", "labels"): rng.randint(1, 102, n) for name, n in SIZES.items()}
    splits = Caltech101Silhouettes(save(**{k: v[:, None] for k, v in numbers.items()})).load()
    for (split, _), expected in zip(splits, numbers.values(), strict=True):
        assert np.array_equal(splits.labels[split]["label"], expected)


def test_a_file_without_classes_has_no_labels(save, caplog):
    assert dict(Caltech101Silhouettes(save()).load().labels) == {}
    assert "the data has no labels: " in caplog.text


def test_it_passes_the_checks_of_a_dataset(save, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DATA", str(save()))
    check("dataset", Caltech101Silhouettes)


def test_logical_arrays_are_read_as_well(save):
    root = save(val_data=np.ones((2_264, 784), bool))
    assert Caltech101Silhouettes(root).load().validation.max() == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"val_data": np.ones((2_264, 256), np.uint8)}, "val_data is 2264×256 uint8"),
        ({"test_data": np.full((2_307, 784), 255, np.uint8)}, "test_data has values from 255"),
    ],
    ids=["shape", "values"],
)
def test_another_file_is_refused(save, changes, told, one_sentence):
    root = save(**changes)
    with pytest.raises(DataError, match=told) as caught:
        Caltech101Silhouettes(root).load()
    one_sentence(str(caught.value))


def test_the_published_checksum_is_compared(tmp_path, cache, one_sentence):
    savemat(tmp_path / NAME, {"x": np.ones(3)})
    with pytest.raises(DataError, match=r"has MD5 .* but Caltech 101 Silhouettes's") as caught:
        Caltech101Silhouettes(tmp_path).load()
    one_sentence(str(caught.value))
