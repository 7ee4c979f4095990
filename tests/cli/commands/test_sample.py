"""`vaeflow sample`: pictures and arrays of draws from the model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def sample(cli, trained, here):
    def run(*words):
        return cli("sample", trained, *words)

    return run


def test_a_picture_shows_n_samples(sample, here):
    done = sample("-n", 10, "--out", "x.png")
    assert (done.code, done.out, done.err) == (0, "wrote x.png\n", "")
    with Image.open("x.png") as image:
        # 3 rows of 4 tiles of 6×6 pixels, magnified by a whole number to about 512
        assert image.size == (4 * 6 * 21, 3 * 6 * 21)
        assert np.asarray(image).std() > 0


def test_the_default_is_64_samples_in_samples_png(sample, here):
    assert sample().code == 0
    with Image.open(here / "samples.png") as image:
        assert image.size == (48 * 11, 48 * 11)


def test_an_npz_holds_means_or_binary_draws(sample):
    assert sample("-n", 9, "--out", "mean.npz").code == 0
    assert sample("-n", 9, "--out", "drawn.npz", "--binary").code == 0
    mean, drawn = (np.load(f"{name}.npz")["samples"] for name in ("mean", "drawn"))
    assert mean.shape == drawn.shape == (9, 4, 4)
    assert ((mean > 0) & (mean < 1)).all()
    assert set(np.unique(drawn)) == {0, 1}


def test_the_seed_decides_the_samples(sample):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert sample("-n", 4, "--seed", seed, "--out", f"{name}.npz").code == 0
    a, b, c = (np.load(f"{name}.npz")["samples"] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert len({row.tobytes() for row in a}) == 4  # no two draws alike


def test_the_run_is_unchanged(sample, trained, snapshot):
    before = snapshot(trained)
    assert sample("-n", 2).code == 0
    assert snapshot(trained) == before


def test_an_existing_file_is_refused(sample, here):
    (here / "x.png").write_text("mine")
    done = sample("--out", "x.png")
    assert done.code == 2
    assert "--out x.png: it exists, and nothing is overwritten; choose another" in done.err
    assert (here / "x.png").read_text() == "mine"
