"""Static MNIST from .amat files: small ones of the true format."""

from __future__ import annotations

import dataclasses
import hashlib
import time

import numpy as np
import pytest
import torch

from vaeflow.errors import DataError
from vaeflow.parts.datasets.binarized_mnist import BinarizedMNIST
from vaeflow.testing import check

NAMES = [f"binarized_mnist_{split}.amat" for split in ("train", "valid", "test")]
BITS = [np.random.RandomState(n).randint(0, 2, (n, 784)).astype(np.uint8) for n in (7, 3, 2)]


def amat(bits: np.ndarray) -> bytes:
    """Return a line of 784 digits with spaces between for each image, as the true files are."""
    text = np.full((len(bits), 2 * 784), ord(" "), np.uint8)
    text[:, ::2] = bits + ord("0")
    text[:, -1] = ord("\n")
    return text.tobytes()


@pytest.fixture
def save(tmp_path, monkeypatch, cache):
    """Write the three files and make their checksums the published ones."""

    def write(*contents: bytes):
        checksums = {}
        for name, content in zip(NAMES, contents, strict=True):
            (tmp_path / name).write_bytes(content)
            checksums[name] = hashlib.sha256(content).hexdigest()
        origin = dataclasses.replace(BinarizedMNIST.origin, checksums=checksums)
        monkeypatch.setattr(BinarizedMNIST, "origin", origin)
        return tmp_path

    return write


def test_each_file_is_a_split(save):
    splits = BinarizedMNIST(save(*map(amat, BITS))).load()
    assert splits.data_shape == (1, 28, 28)
    for (_, x), bits in zip(splits, BITS, strict=True):
        assert x.dtype == torch.float32
        assert np.array_equal(x.reshape(-1, 784), bits)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b" \n"),
        lambda text: text[:-1],
        lambda text: text.replace(b" ", b"\t"),
    ],
    ids=["carriage returns", "spaces at the end", "no last line end", "tabs"],
)
def test_white_space_does_not_matter(save, change):
    splits = BinarizedMNIST(save(*(change(amat(bits)) for bits in BITS))).load()
    assert np.array_equal(splits.train.reshape(-1, 784), BITS[0])


LINE = amat(BITS[1][:1])


@pytest.mark.parametrize(
    ("valid", "told"),
    [
        (b"", "holds no image"),
        (LINE + LINE[2:], "line 2 is not 784 numbers 0 and 1"),
        (LINE + b"1 " + LINE, "line 2 is not"),
        (b"2" + LINE[1:], "line 1 is not"),
        (LINE + LINE[:100] + b"x" + LINE[101:], "line 2 is not"),
        (LINE + b"\n" + LINE, "line 2 is not"),
        (LINE.replace(b"1 ", b"1.0 "), "line 1 is not"),
        (b"<html>not found</html>", "line 1 is not"),
    ],
    ids=["empty", "short", "long", "a two", "a letter", "an empty line", "decimals", "a page"],
)
def test_a_line_without_an_image_is_named(save, valid, told, one_sentence):
    root = save(amat(BITS[0]), valid, amat(BITS[2]))
    with pytest.raises(DataError, match=told) as caught:
        BinarizedMNIST(root).load()
    one_sentence(str(caught.value))
    assert str(caught.value).startswith(str(root / NAMES[1]))
    assert str(caught.value).endswith("fetch the file again")


def test_the_published_checksums_are_compared(tmp_path, cache, one_sentence):
    (tmp_path / NAMES[0]).write_bytes(amat(BITS[0]))
    with pytest.raises(DataError, match=r"has SHA-256 .* but Binarized MNIST's") as caught:
        BinarizedMNIST(tmp_path).load()
    one_sentence(str(caught.value))


def test_it_passes_the_checks_of_a_dataset(save, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DATA", str(save(*map(amat, BITS))))
    check("dataset", BinarizedMNIST)


def test_a_file_of_the_true_size_is_read_in_seconds(save):
    """As large as the test file, 10,000 images; numpy.loadtxt takes ten seconds for it."""
    bits = np.random.RandomState(0).randint(0, 2, (10_000, 784)).astype(np.uint8)
    root = save(amat(bits), amat(BITS[1]), amat(BITS[2]))
    assert (root / NAMES[0]).stat().st_size == 15_680_000  # as that of the true one
    start = time.process_time()
    splits = BinarizedMNIST(root).load()
    assert time.process_time() - start < 5
    assert np.array_equal(splits.train.reshape(-1, 784), bits)
