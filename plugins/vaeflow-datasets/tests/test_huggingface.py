"""Data sets on the disk are read by column, split and labelled, and nothing is fetched."""

import json
import re

import datasets
import numpy as np
import pytest
import torch
from datasets import Array3D, ClassLabel, Features, Image, List, Value
from vaeflow_datasets import dataset
from vaeflow_datasets.dataset import HuggingFace

from vaeflow.cli import main
from vaeflow.parts import DataError
from vaeflow.testing import checks

PIXELS = np.random.RandomState(0).randint(0, 256, (30, 6, 5)).astype(np.uint8)
NAMES = ("cat", "dog")
FEATURES = Features(
    {"image": Image(), "label": ClassLabel(names=list(NAMES)), "age": Value("int32")}
)


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def one_sentence():
    def check(message):
        assert "\n" not in message
        assert not re.search(r"[a-z)][.!?]\s+[A-Z]", message), message

    return check


def grey(pixels):
    return torch.from_numpy(pixels[:, None].astype(np.float32) / 255)


def photos(pixels=PIXELS):
    n = len(pixels)
    return datasets.Dataset.from_dict(
        {"image": list(pixels), "label": [i % 2 for i in range(n)], "age": list(range(n))}, FEATURES
    )


@pytest.fixture
def one(tmp_path):
    photos().save_to_disk(tmp_path / "one")
    return tmp_path / "one"


@pytest.fixture
def split(tmp_path):
    parts = {"train": PIXELS[:20], "valid": PIXELS[20:25], "test": PIXELS[25:]}
    datasets.DatasetDict({k: photos(v) for k, v in parts.items()}).save_to_disk(tmp_path / "split")
    return tmp_path / "split"


def test_images_and_labels_are_those_that_were_saved(split):
    splits = HuggingFace(path=split, column="image").load()
    for name, wanted in (
        ("train", PIXELS[:20]),
        ("validation", PIXELS[20:25]),
        ("test", PIXELS[25:]),
    ):
        x = getattr(splits, name)
        assert torch.equal(x, grey(wanted))
        assert splits.labels[name]["label"].tolist() == [NAMES[i % 2] for i in range(len(wanted))]
        assert splits.labels[name]["age"].tolist() == list(range(len(wanted)))
    assert splits.examples("train").x.kept_dtype == torch.uint8


def test_rows_without_splits_are_drawn_with_their_labels(one, caplog):
    splits = HuggingFace(path=one, validation=0.2, test=0.1).load()
    assert [len(x) for _, x in splits] == [21, 6, 3]
    assert "the column image is taken as data, label, age as labels" in caplog.text
    ages = {name: found["age"].astype(int) for name, found in splits.labels.items()}
    assert sorted(np.concatenate(list(ages.values()))) == list(range(30))
    for name, x in splits:
        assert torch.equal(
            x, torch.from_numpy(PIXELS[ages[name]][:, None].astype(np.float32) / 255)
        )


def test_a_missing_split_is_taken_off_the_training_rows_and_told(tmp_path, caplog):
    parts = {"train": photos(PIXELS[:20]), "test": photos(PIXELS[20:])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    splits = HuggingFace(path=tmp_path / "two").load()
    assert [len(x) for _, x in splits] == [18, 2, 10]
    assert "2 of its 20 training rows are taken for it" in caplog.text


def test_large_data_is_read_row_by_row(split, monkeypatch):
    whole = HuggingFace(path=split).load()
    monkeypatch.setattr(dataset, "_AT_ONCE", 0)
    rows = HuggingFace(path=split).load()
    assert not rows.examples("train").x.resident
    assert rows.fingerprint() == whole.fingerprint()
    batch = rows.examples("train").index_select(0, torch.tensor([7, 2])).x
    assert torch.equal(batch, whole.train[[7, 2]])


@pytest.mark.parametrize(
    ("feature", "dtype", "shape"),
    [
        (List(Value("float64")), np.float64, (3,)),
        (List(Value("int8"), length=3), np.int8, (3,)),
        (List(List(Value("float32"))), np.float32, (2, 3)),
        (Array3D(shape=(2, 3, 4), dtype="uint8"), np.uint8, (2, 3, 4)),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_arrays_keep_their_values_and_shape(feature, dtype, shape, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    values = (np.random.RandomState(0).rand(12, *shape) * 100).astype(dtype)
    rows = datasets.Dataset.from_dict({"x": values.tolist()}, Features({"x": feature}))
    path = tmp_path / ("x" if kind == "folder" else "x.parquet")
    rows.save_to_disk(path) if kind == "folder" else rows.to_parquet(path)
    splits = HuggingFace(path=path).load()
    found = torch.cat([x for _, x in splits]).numpy()
    assert found.shape == values.shape
    assert sorted(map(tuple, found.reshape(12, -1))) == sorted(
        map(tuple, values.reshape(12, -1).astype(np.float32))
    )


def test_images_of_several_sizes_and_modes_are_brought_to_one(tmp_path):
    rgb = np.random.RandomState(0).randint(0, 256, (8, 9, 3)).astype(np.uint8)
    images = {"train": [*PIXELS[:5], rgb], "dev": PIXELS[:2], "test": PIXELS[2:4]}
    features = Features({"image": Image()})
    datasets.DatasetDict(
        {k: datasets.Dataset.from_dict({"image": [*v]}, features) for k, v in images.items()}
    ).save_to_disk(tmp_path / "x")
    with pytest.raises(DataError, match=r"row 5 of its split.* is an image of mode RGB"):
        HuggingFace(path=tmp_path / "x").load()
    with pytest.raises(DataError, match=r"has 8×9 pixels, but the first has 6×5: give .*6,5"):
        HuggingFace(path=tmp_path / "x", channels=3).load()
    splits = HuggingFace(path=tmp_path / "x", channels=3, size=(6, 5)).load()
    assert splits.data_shape == (3, 6, 5)


def saved(tmp_path, table, features=None):
    datasets.Dataset.from_dict(table, features).save_to_disk(tmp_path / "bad")
    return tmp_path / "bad"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"a": [1, 2, 3]}, "no column can be data: store images"),
        ({"a": [[1.0]] * 3, "b": [[2.0]] * 3}, "the columns a, b can be data: name one by"),
        (
            {"a": [[1.0, 2.0]] * 4 + [[3.0]] + [[1.0, 2.0]] * 5},
            "column 'a' has shape (1,), but the",
        ),
        ({"a": [["x"], ["y"], ["z"]]}, "column 'a' holds List(Value('string')), but images"),
        ({"a": [[1.0]]}, "holds 1 rows, of which 1 go to validation"),
    ],
)
def test_a_refusal_is_one_sentence_with_a_cure(table, told, tmp_path, one_sentence):
    with pytest.raises(DataError) as caught:
        HuggingFace(path=saved(tmp_path, table)).load().fingerprint()
    assert told in str(caught.value)
    one_sentence(str(caught.value))


@pytest.mark.parametrize("name", ["gone", "text.md", "folder", "broken.parquet"])
def test_what_is_no_data_set_is_refused(name, tmp_path, one_sentence, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "gone":
        path.write_text("no data")
    with pytest.raises(DataError) as caught:
        HuggingFace(path=path).load()
    one_sentence(str(caught.value))


@pytest.mark.parametrize("check", checks("dataset"), ids=lambda check: check.name)
def test_contract(check, one):
    check(lambda root: HuggingFace(root, path=one))


@pytest.mark.parametrize("check", checks("package"), ids=lambda check: check.name)
def test_package(check):
    check("vaeflow-datasets")


def test_trains_by_name_conditioned_on_its_labels(split, tmp_path, capsys):
    run = tmp_path / "run"
    command = f"train --dataset huggingface --dataset.path {split} --dataset.column image "
    command += "--condition label --encoder.hidden 8 --decoder.hidden 8 --latent 2 --epochs 1 "
    command += f"--test-samples 1 --no-tensorboard --run-dir {run}"
    shell(command)
    assert json.loads((run / "summary.json").read_text())["dataset"].endswith("huggingface")


def shell(command):
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert not ended.value.code
