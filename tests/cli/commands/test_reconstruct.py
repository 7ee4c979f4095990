"""`vaeflow reconstruct`: held-out data beside their reconstructions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vaeflow.data.binarization import binarize
from vaeflow.parts.datasets.files.tables import read_table


@pytest.fixture
def reconstruct(cli, trained, here):
    def run(*words):
        return cli("reconstruct", trained, *words)

    return run


def test_an_npz_holds_images_and_reconstructions(reconstruct, grey_file):
    done = reconstruct("-n", 4, "--out", "x.npz")
    assert (done.code, done.out, done.err) == (0, "wrote x.npz\n", "")
    with np.load("x.npz") as found, np.load(grey_file) as data:
        images, reconstructions = found["images"], found["reconstructions"]
        test = torch.from_numpy(data["test"])
    assert np.array_equal(images, binarize(test, "dynamic")[:4].numpy())
    assert reconstructions.shape == (4, 4, 4)
    assert ((reconstructions > 0) & (reconstructions < 1)).all()


def test_a_picture_shows_pairs(reconstruct):
    assert reconstruct("-n", 6, "--out", "x.png").code == 0
    assert reconstruct("-n", 6, "--out", "x.npz").code == 0
    with Image.open("x.png") as image:
        factor = image.size[0] // (8 * 6)
        assert image.size == (8 * 6 * factor, 2 * 6 * factor)  # 12 tiles in rows of 8
        picture = np.asarray(image)[::factor, ::factor]
    with np.load("x.npz") as found:
        first = [(found[name][0] * 255).round() for name in ("images", "reconstructions")]
    assert np.array_equal(picture[1:5, 1:5], first[0])
    assert np.abs(picture[1:5, 7:11] - first[1]).max() <= 1


def test_the_data_limits_the_number_of_pairs(reconstruct):
    assert reconstruct("-n", 1000, "--out", "x.npz").code == 0
    assert len(np.load("x.npz")["images"]) == 6


def test_the_seed_decides_the_reconstructions(reconstruct):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert reconstruct("--seed", seed, "--out", f"{name}.npz").code == 0
    a, b, c = (np.load(f"{name}.npz")["reconstructions"] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_run_is_unchanged(reconstruct, trained, snapshot, here):
    before = snapshot(trained)
    assert reconstruct().code == 0
    assert snapshot(trained) == before
    assert [p.name for p in here.iterdir()] == ["reconstructions.png"]


def test_reconstructions_of_a_table_stand_beside_its_values(cli, people_run, people, here):
    assert cli("reconstruct", people_run, "-n", 5).out == "wrote reconstructions.csv\n"
    found, table = read_table(here / "reconstructions.csv"), read_table(people)
    names = ["age", "visits", "smokes", "site"]
    assert list(found) == [n for name in names for n in (name, f"{name}_reconstructed")] + ["group"]
    known = {tuple(map(str, row)) for row in zip(*(table[n] for n in names), strict=True)}
    for row in zip(*(found[n] for n in names), strict=True):
        assert tuple(map(str, row)) in known
    assert ((found["age_reconstructed"] > 10) & (found["age_reconstructed"] < 70)).all()
    assert set(found["site_reconstructed"]) <= {"north", "south", "west"}
