"""The Frey faces from files of the true format and size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.io import savemat

from vaeflow.errors import DataError
from vaeflow.options import options_model
from vaeflow.parts.datasets.freyfaces import FreyFaces
from vaeflow.testing import check

NAME = "frey_rawface.mat"
FACES = np.random.RandomState(0).randint(0, 256, (1_965, 560)).astype(np.uint8)


@pytest.fixture
def root(tmp_path, cache):
    savemat(tmp_path / NAME, {"ff": FACES.T})
    return tmp_path


@pytest.mark.parametrize("seed", [123, 321, 231])
def test_the_split_equals_that_of_the_code_of_sylvester_flows(root, seed):
    """Split as that code does, with NumPy alone: shuffle the rows in place, and cut."""
    splits = FreyFaces(root, seed=seed).load()
    rows = FACES / 255.0
    np.random.RandomState(seed).shuffle(rows)
    parts = np.split(rows.astype(np.float32), [1_565, 1_765])
    for (_, x), part in zip(splits, parts, strict=True):
        assert np.array_equal(x.reshape(-1, 560), part)
    assert [len(x) for _, x in splits] == [1_565, 200, 200]
    assert splits.data_shape == (1, 28, 20)
    assert splits.train.dtype == torch.float32


def test_the_first_published_seed_is_the_default(root):
    assert FreyFaces(root).load().fingerprint() == FreyFaces(root, seed=123).load().fingerprint()
    assert FreyFaces(root).load().fingerprint() != FreyFaces(root, seed=321).load().fingerprint()


@pytest.mark.parametrize("version", ["4", "5"])
def test_grey_levels_are_whole_numbers_of_255(tmp_path, cache, version):
    savemat(tmp_path / NAME, {"ff": FACES.T}, format=version)
    levels = FreyFaces(tmp_path).load().train * 255
    assert torch.equal(levels.round(), torch.round(levels, decimals=4))


def test_it_passes_the_checks_of_a_dataset(root, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DATA", str(root))
    check("dataset", FreyFaces)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(seed):
    with pytest.raises(ValidationError):
        options_model(FreyFaces)(seed=seed)


@pytest.mark.parametrize(
    ("ff", "told"),
    [
        (FACES, "ff is 1965×560 uint8, but 560×1965 uint8 is needed"),
        (FACES.T / 255.0, "ff is 560×1965 double, but 560×1965 uint8 is needed"),
    ],
    ids=["turned", "scaled"],
)
def test_another_file_is_refused(tmp_path, cache, ff, told, one_sentence):
    savemat(tmp_path / NAME, {"ff": ff})
    with pytest.raises(DataError, match=told) as caught:
        FreyFaces(tmp_path).load()
    one_sentence(str(caught.value))


def test_the_second_source_is_asked_if_the_first_sends_a_page(root, cache, monkeypatch):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append(url)
        path.mkdir(parents=True, exist_ok=True)
        page = b"<html>moved</html>"
        (path / fname).write_bytes((root / NAME).read_bytes() if len(asked) > 1 else page)
        return path / fname

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(FreyFaces().load().test) == 200
    assert asked == [f"{source}{NAME}" for source in FreyFaces.origin.sources]
    assert (cache / "freyfaces" / f"{NAME}.sha256").is_file()
