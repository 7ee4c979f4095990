"""MNIST from IDX files: small ones of the true format, made here, and the true ones if at hand."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from vaeflow.errors import DataError
from vaeflow.parts.datasets import mnist
from vaeflow.parts.datasets.mnist import KMNIST, MNIST, FashionMNIST

ROOT = os.environ.get("VAEFLOW_DATA")
TRUE_SHA256 = dict(mnist._SHA256)
TRUE_LABELS_SHA256 = dict(mnist._LABELS_SHA256)
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
# As many images as the splits need, of 2×2 pixels.
IMAGES = {
    TRAIN: np.random.RandomState(0).randint(0, 256, (10_020, 2, 2)).astype(np.uint8),
    TEST: np.random.RandomState(1).randint(0, 256, (7, 2, 2)).astype(np.uint8),
}


def idx(images: np.ndarray) -> bytes:
    return b"\x00\x00\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Expect the small files, and let nothing reach the network or the user's cache."""
    for name, images in IMAGES.items():
        monkeypatch.setitem(mnist._SHA256, name, hashlib.sha256(idx(images)).hexdigest())
    monkeypatch.delenv("VAEFLOW_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: pytest.fail("a download was tried"))


@pytest.fixture
def root(tmp_path) -> Path:
    """A data root with both files, gzipped."""
    folder = tmp_path / "root"
    folder.mkdir()
    for name, images in IMAGES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(images)))
    return folder


def grey(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


def test_the_first_5000_validate_as_in_the_tutorial(root):
    splits = MNIST(root).load()
    assert torch.equal(splits.train, grey(IMAGES[TRAIN][5000:]))
    assert torch.equal(splits.validation, grey(IMAGES[TRAIN][:5000]))
    assert torch.equal(splits.test, grey(IMAGES[TEST]))


def test_the_last_10000_validate_on_request(root):
    splits = MNIST(root, validation=10000).load()
    assert torch.equal(splits.train, grey(IMAGES[TRAIN][:20]))
    assert torch.equal(splits.validation, grey(IMAGES[TRAIN][20:]))
    assert torch.equal(splits.test, grey(IMAGES[TEST]))


LABELS = {  # of as many images
    "train-labels-idx1-ubyte": np.arange(10_020) % 7,
    "t10k-labels-idx1-ubyte": np.arange(7),
}


class TestLabels:
    @pytest.fixture
    def labelled(self, root, monkeypatch) -> Path:
        for name, numbers in LABELS.items():
            raw = b"\x00\x00\x08\x01" + struct.pack(">I", len(numbers)) + bytes(numbers.tolist())
            (root / f"{name}.gz").write_bytes(gzip.compress(raw))
            monkeypatch.setitem(mnist._LABELS_SHA256, name, hashlib.sha256(raw).hexdigest())
        return root

    @pytest.mark.parametrize("validation", [5000, 10000])
    def test_digits_go_with_their_images(self, labelled, validation, caplog):
        splits = MNIST(labelled, validation=validation).load()
        train, test = LABELS.values()
        cut = {5000: (train[5000:], train[:5000]), 10000: (train[:-10000], train[-10000:])}
        for (name, x), numbers in zip(splits, (*cut[validation], test), strict=True):
            assert np.array_equal(splits.labels[name]["digit"], numbers)
            assert len(x) == len(numbers)
        assert not caplog.records

    def test_without_their_files_there_are_none_and_images_load(self, root, caplog, one_sentence):
        splits = MNIST(root).load()
        assert not caplog.records  # nobody asked
        assert dict(splits.labels) == {}
        (record,) = caplog.records
        one_sentence(record.getMessage())
        assert "the data has no labels: " in record.getMessage()
        assert "holds no train-labels-idx1-ubyte.gz" in record.getMessage()

    def test_the_successors_call_theirs_label(self):
        assert (MNIST.label, FashionMNIST.label, KMNIST.label) == ("digit", "label", "label")
        for part in (MNIST, FashionMNIST, KMNIST):
            assert list(part.label_checksums) == list(LABELS)


@pytest.mark.parametrize("form", ["{0}", "{1}", "{0}/{0}", "{1}/{1}"])
def test_the_names_of_kaggle_are_found(tmp_path, form):
    for name, images in IMAGES.items():
        path = tmp_path / form.format(name, name.replace("-idx", ".idx"))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(idx(images))
    assert len(MNIST(tmp_path).load().test) == 7


@pytest.mark.parametrize("table", ["train.csv", "mnist_train.csv", "fashion-mnist_train.csv"])
def test_tables_of_kaggle_are_told_with_the_cure(tmp_path, table, one_sentence):
    (tmp_path / table).write_text("label,pixel0\n1,2\n")
    with pytest.raises(DataError) as caught:
        MNIST(tmp_path).load()
    one_sentence(str(caught.value))
    assert f"--dataset table --dataset.path {tmp_path / table} --dataset.drop" in str(caught.value)


@pytest.mark.parametrize("folder", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("pack", [None, 1, 9])
def test_files_pass_in_any_packing_and_in_the_usual_folders(tmp_path, folder, pack):
    place = tmp_path / "data" / folder
    place.mkdir(parents=True)
    for name, images in IMAGES.items():
        raw = idx(images)
        if pack is None:
            (place / name).write_bytes(raw)
        else:
            (place / f"{name}.gz").write_bytes(gzip.compress(raw, pack))
    assert len(MNIST(tmp_path / "data").load().test) == 7


def test_the_option_for_the_root_goes_before_the_variable(root, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DATA", str(root))
    assert len(MNIST().load().test) == 7
    with pytest.raises(DataError, match="elsewhere holds no train-images"):
        MNIST(tmp_path / "elsewhere").load()


WHOLE = idx(IMAGES[TRAIN])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(WHOLE)[:-20], "cannot be read ("),
        (WHOLE[:-1], "unpacks to SHA-256"),
        (gzip.compress(WHOLE[:-1] + b"\x01"), "unpacks to SHA-256"),
        (b"<html>not found</html>", "unpacks to SHA-256"),
        (b"", "unpacks to SHA-256"),
    ],
    ids=["truncated gzip", "truncated", "one value changed", "error page", "empty"],
)
def test_a_corrupt_file_is_refused(root, content, told, one_sentence):
    path = root / f"{TRAIN}.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        MNIST(root).load()
    message = str(caught.value)
    one_sentence(message)
    assert message.startswith(f"{path} {told}")
    assert "fetch the file again" in message
    assert path.read_bytes() == content  # the user's own file is left alone


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"\x00\x00\x0a" + WHOLE[3:], "not with an IDX header"),
        (WHOLE[:4] + struct.pack(">3I", 10**6, 28, 28) + WHOLE[16:], "header says 784,000,000"),
    ],
    ids=["wrong magic", "promises more"],
)
def test_a_file_of_the_right_checksum_must_still_be_idx(root, raw, told, monkeypatch, one_sentence):
    (root / f"{TRAIN}.gz").write_bytes(gzip.compress(raw))
    monkeypatch.setitem(mnist._SHA256, TRAIN, hashlib.sha256(raw).hexdigest())
    with pytest.raises(DataError, match=told) as caught:
        MNIST(root).load()
    one_sentence(str(caught.value))


@pytest.mark.parametrize("missing", [TRAIN, TEST])
def test_a_missing_file_is_named_with_the_cure(root, missing, one_sentence):
    (root / f"{missing}.gz").unlink()
    with pytest.raises(DataError) as caught:
        MNIST(root).load()
    message = str(caught.value)
    one_sentence(message)
    assert message.startswith(f"{root} holds no {missing}.gz")
    assert "--data-root" in message
    assert "$VAEFLOW_DATA" in message


class Mirror:
    """Stands in for `pooch.retrieve`: like it, a file in the cache is not fetched again."""

    def __init__(self, answers: dict[str, bytes | Exception]) -> None:
        self.answers = answers  # by a word of the source's address
        self.asked: list[str] = []

    def __call__(self, url, known_hash, fname, path):
        file = Path(path) / fname
        if not file.exists():
            self.asked.append(url)
            answer = next(a for word, a in self.answers.items() if word in url)
            if isinstance(answer, Exception):
                raise answer
            file.parent.mkdir(parents=True, exist_ok=True)
            content = answer or gzip.compress(idx(IMAGES[fname.removesuffix(".gz")]))
            file.write_bytes(content)
        return str(file)


@pytest.fixture
def mirror(monkeypatch):
    def install(**answers: bytes | Exception) -> Mirror:
        standing_in = Mirror(answers)
        monkeypatch.setattr("pooch.retrieve", standing_in)
        return standing_in

    return install


def test_without_a_root_the_files_are_fetched_once(mirror, tmp_path):
    web = mirror(ossci=b"")
    assert len(MNIST().load().test) == 7
    assert [url.rpartition("/")[2] for url in web.asked] == [f"{TRAIN}.gz", f"{TEST}.gz"]
    assert all(url.startswith("https://") for url in web.asked)
    MNIST().load()
    assert len(web.asked) == 2
    assert sorted(p.name for p in (tmp_path / "cache" / "mnist").iterdir()) == [
        f"{TEST}.gz",
        f"{TRAIN}.gz",
    ]


@pytest.mark.parametrize("first", [ConnectionError("down"), b"<html>404</html>"], ids=type)
def test_the_second_source_is_asked_if_the_first_fails(mirror, first):
    web = mirror(ossci=first, cvdf=b"")
    assert len(MNIST().load().test) == 7
    assert ["ossci" in url for url in web.asked] == [True, False, True, False]


def test_a_copy_that_was_corrupted_in_the_cache_is_fetched_again(mirror, tmp_path):
    web = mirror(ossci=b"", cvdf=b"")
    cached = tmp_path / "cache" / "mnist" / f"{TRAIN}.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(gzip.compress(WHOLE)[:-20])
    assert len(MNIST().load().test) == 7
    assert len(web.asked) == 2


def test_without_a_source_both_reasons_are_told_and_no_file_is_left(mirror, tmp_path, one_sentence):
    mirror(ossci=ConnectionError("down"), cvdf=b"<html>404</html>")
    with pytest.raises(DataError) as caught:
        MNIST().load()
    message = str(caught.value)
    one_sentence(message)
    assert f"{TRAIN}.gz could not be downloaded" in message
    assert "ossci-datasets" in message
    assert "ConnectionError" in message
    assert "unpacks to SHA-256" in message
    assert "--data-root" in message
    assert not list((tmp_path / "cache" / "mnist").iterdir())


class TestSuccessors:
    """Fashion-MNIST and KMNIST: MNIST's format and names of files, checksums of the archives."""

    @pytest.fixture(params=[FashionMNIST, KMNIST])
    def successor(self, request, root, monkeypatch):
        """A successor for which the archives of the root are the published ones."""
        checksums = {
            name: hashlib.sha256(idx(images)).hexdigest()
            if request.param.origin.unpacked
            else hashlib.md5((root / f"{name}.gz").read_bytes()).hexdigest()
            for name, images in IMAGES.items()
        }
        origin = dataclasses.replace(request.param.origin, checksums=checksums)
        monkeypatch.setattr(request.param, "origin", origin)
        return request.param

    def test_splits_and_options_are_those_of_mnist(self, successor, root):
        for validation in (5000, 10000):
            splits = successor(root, validation=validation).load()
            expected = MNIST(root, validation=validation).load()
            assert splits.fingerprint() == expected.fingerprint()

    def test_the_folders_of_torchvision_are_searched(self, successor, root, tmp_path):
        place = tmp_path / "data" / successor.__name__ / "raw"
        place.parent.mkdir(parents=True)
        root.rename(place)
        assert len(successor(tmp_path / "data").load().test) == 7

    @pytest.mark.parametrize("again", [FashionMNIST, KMNIST])
    def test_files_of_mnist_are_refused(self, root, again, one_sentence):
        told = rf"(has MD5|unpacks to SHA-256) .* but {again.origin.title}'s"
        with pytest.raises(DataError, match=told) as caught:
            again(root).load()
        one_sentence(str(caught.value))
        for name in IMAGES:  # nor plain ones
            (root / f"{name}.gz").unlink()
            (root / name).write_bytes(idx(IMAGES[name]))
        with pytest.raises(DataError, match=rf"{told}|holds no train-images-idx3-ubyte\.gz"):
            again(root).load()

    def test_files_are_fetched_into_the_cache(self, successor, root, tmp_path, monkeypatch):
        def archive(url, known_hash, fname, path):
            path.mkdir(parents=True, exist_ok=True)
            return (path / fname).write_bytes((root / fname).read_bytes()) and path / fname

        monkeypatch.setattr("pooch.retrieve", archive)
        assert len(successor().load().test) == 7
        (folder,) = (tmp_path / "cache").iterdir()
        assert folder.name == successor.origin.folder

    def test_each_data_set_has_its_own_folder_and_two_sources(self):
        parts = (MNIST, FashionMNIST, KMNIST)
        assert len({part.origin.folder for part in parts}) == 3
        for part in parts:
            assert len(set(part.origin.sources)) == 2
            assert all(source.endswith("/") for source in part.origin.sources)
            assert set(part.origin.checksums) == {TRAIN, TEST}


def test_the_true_files():
    if ROOT is None:
        pytest.skip("$VAEFLOW_DATA does not name the directory of the MNIST files")
    mnist._SHA256.update(TRUE_SHA256)  # undone by the fixture
    splits = MNIST(Path(ROOT)).load()
    assert [len(x) for _, x in splits] == [55_000, 5_000, 10_000]
    assert splits.data_shape == (1, 28, 28)
    # The mean grey levels that everyone normalizes with.
    everything = torch.cat([splits.train, splits.validation])
    assert everything.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert everything.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert (everything.min(), everything.max()) == (0, 1)
    mnist._LABELS_SHA256.update(TRUE_LABELS_SHA256)
    digits = [splits.labels[name]["digit"] for name, _ in splits]
    assert [len(numbers) for numbers in digits] == [55_000, 5_000, 10_000]
    assert digits[1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as in every tutorial
