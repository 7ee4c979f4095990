"""`vaeflow encode`: latent codes with what stood beside the data."""

import numpy as np
import torch
from PIL import Image

from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.runs.directory import Run


def test_the_codes_are_the_means_of_q_with_ids_and_labels_beside(cli, people_run, people, here):
    done = cli("encode", people_run, "--out", "codes.csv")
    assert (done.code, done.out) == (0, "wrote codes.csv\n"), done.err
    codes, table = read_table(here / "codes.csv"), read_table(people)
    assert list(codes) == ["split", "row", "id", "group", "z0", "z1", "z2"]
    assert {name: list(codes["split"]).count(name) for name in set(codes["split"])} == {
        "train": 64, "validation": 8, "test": 8,
    }  # fmt: skip
    row = {name: i for i, name in enumerate(table["id"])}
    order = [row[name] for name in codes["id"]]
    assert order == list(range(80))
    assert codes["row"].tolist() == list(range(2, 82))  # as the file counts them
    assert np.array_equal(codes["group"], table["group"][order])
    run = Run.open(people_run)
    z = run.model.encode(run.form.columns.encode(table), condition={"group": table["group"]})
    found = np.stack([codes[f"z{i}"] for i in range(3)], 1)
    np.testing.assert_allclose(found, z.numpy()[order], rtol=1e-4, atol=1e-6)


def test_a_file_is_encoded_in_its_order(cli, people_run, people, here):
    assert cli("encode", people_run, "--data", people, "--out", "codes.npz").code == 0
    table, found = read_table(people), np.load("codes.npz")
    assert set(found) == {"codes", "row", "id", "group"}
    assert found["id"].tolist() == table["id"].tolist()
    assert found["row"].tolist() == list(range(2, 82))  # as messages tell them
    assert found["codes"].shape == (80, 3)


def test_a_split_of_arrays_is_encoded(cli, trained, grey_file, here):
    for name in ("a", "b"):
        words = ("--split", "test", "--out", f"{name}.npz")
        assert cli("encode", trained, *words).code == 0
    a, b = np.load("a.npz"), np.load("b.npz")
    assert a["split"].tolist() == ["test"] * 6
    assert np.array_equal(a["codes"], b["codes"])
    assert cli("encode", trained, "--data", grey_file, "--out", "all.npz").code == 0
    found = np.load("all.npz")
    assert (found["split"] == "test").sum() == 6
    assert len(found["codes"]) == 38
    assert torch.from_numpy(found["codes"]).isfinite().all()


def test_a_split_of_other_data_is_refused(cli, people_run, people, here):
    words = ("--data", people, "--split", "test", "--out", "codes.npz")
    done = cli("encode", people_run, *words)
    assert (done.code, "leave it out beside --data" in done.err) == (2, True)
    assert not list(here.iterdir())
    done = cli("encode", people_run, "--out", "codes.png")
    assert "the name must end in .npz, .csv, .tsv, .parquet, .arrow or .feather" in done.err


def test_the_codes_of_images_tell_their_files(cli, tiny, tmp_path, here):
    rng = np.random.RandomState(0)
    for i in range(12):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (4, 4), np.uint8)).save(folder / f"{i:02}.png")
    words = ("--dataset", "images", "--dataset.path", tmp_path / "photos", "--no-tensorboard")
    done = cli("train", *tiny, *words, "--run-dir", "run")
    assert done.code == 0, done.err
    assert cli("encode", "run", "--out", "codes.csv").code == 0
    codes = read_table(here / "codes.csv")
    assert list(codes)[:3] == ["split", "file", "label"]
    files = sorted(p.relative_to(tmp_path / "photos") for p in tmp_path.glob("photos/*/*.png"))
    assert codes["file"].tolist() == [p.as_posix() for p in files]
    assert codes["label"].tolist() == [p.parent.name for p in files]


def test_the_codes_of_a_file_are_in_its_order(cli, tiny, tmp_path, here):
    x = np.random.RandomState(0).rand(30, 3)
    np.savetxt(here / "x.csv", x, delimiter=",", header="a,b,c", comments="")
    words = ("--dataset", "file", "--dataset.path", "x.csv", "--likelihood", "gaussian")
    assert cli("train", *tiny, *words, "--no-tensorboard", "--run-dir", "run").code == 0
    assert cli("encode", "run", "--out", "own.npz").code == 0
    assert cli("encode", "run", "--data", "x.csv", "--out", "same.npz").code == 0
    own, same = np.load("own.npz"), np.load("same.npz")
    assert own["row"].tolist() == same["row"].tolist() == list(range(2, 32))
    np.testing.assert_allclose(own["codes"], same["codes"], rtol=1e-5, atol=1e-6)
    assert sorted({*own["split"]}) == ["test", "train", "validation"]


def test_each_draw_is_a_line_with_its_density(cli, trained, here):
    assert cli("encode", trained, "--split", "test", "--draws", 4, "--out", "codes.csv").code == 0
    assert cli("encode", trained, "--split", "test", "--draws", 4, "--out", "codes.npz").code == 0
    table, arrays = read_table(here / "codes.csv"), np.load("codes.npz")
    assert list(table) == ["split", "row", "draw", "z0", "z1", "z2", "log_q"]
    assert (arrays["codes"].shape, arrays["log_q"].shape) == ((6, 4, 3), (6, 4))
    assert table["row"].tolist() == np.repeat(arrays["row"], 4).tolist()
    assert table["draw"].tolist() == [0, 1, 2, 3] * 6
    np.testing.assert_allclose(table["log_q"], arrays["log_q"].ravel(), rtol=1e-6)
    np.testing.assert_allclose(table["z2"], arrays["codes"][..., 2].ravel(), rtol=1e-6)


def test_the_other_ranks_write_no_file(cli, people_run, here, monkeypatch):
    from vaeflow.runtime import ranks

    monkeypatch.setattr(ranks, "is_first", lambda: False)
    assert cli("encode", people_run, "--out", "codes.npz").code == 0
    assert not list(here.iterdir())
