"""`vaeflow sample`: pictures and arrays of draws from the model."""

from __future__ import annotations

import click
import numpy as np
import pytest
from PIL import Image

from vaeflow.cli.options import _conditions
from vaeflow.parts.datasets.files.tables import read_table


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


def test_samples_of_a_table_are_rows_in_its_units(cli, people_run, here):
    words = ("sample", people_run, "-n", 200, "--condition", "group=b")
    assert cli(*words).out == "wrote samples.csv\n"
    assert cli(*words, "--mean", "--out", "mean.parquet").code == 0
    assert cli(*words, "--out", "drawn.npz").code == 0
    drawn, mean = read_table(here / "samples.csv"), read_table(here / "mean.parquet")
    assert list(drawn) == list(mean) == ["age", "visits", "smokes", "site", "group"]
    assert set(drawn["group"]) == {"b"}
    assert set(drawn["site"]) == {"north", "south", "west"}
    assert set(drawn["smokes"]) <= {"no", "yes"}
    assert (drawn["visits"] == np.floor(drawn["visits"])).all()
    assert (mean["visits"] != np.floor(mean["visits"])).any()
    assert 30 < drawn["age"].mean() < 50
    assert drawn["age"].std() > 2 * mean["age"].std()
    arrays = np.load("drawn.npz")
    assert all(np.array_equal(arrays[name], drawn[name]) for name in drawn)
    assert arrays["visits"].dtype == np.int64


def test_a_covariate_that_is_not_given_is_refused(cli, people_run, trained, here):
    done = cli("sample", people_run)
    assert (done.code, "conditioned on 'group'" in done.err) == (3, True)
    done = cli("sample", people_run, "--condition", "group=c")
    assert (done.code, "held no such level; give one of a, b" in done.err) == (3, True)
    done = cli("sample", people_run, "--condition", "b")
    assert "--condition b: write NAME=VALUE, as in --condition digit=3" in done.err
    assert cli("sample", trained, "--condition", "digit=3").code == 3
    assert not list(here.iterdir())


def test_a_comma_within_a_value_stays():
    context = click.Context(click.Command("sample"))
    found = _conditions(context, context, ("site=St. Gallen, CH,age=3", "name=a=b"))
    assert found == {"site": "St. Gallen, CH", "age": "3", "name": "a=b"}
