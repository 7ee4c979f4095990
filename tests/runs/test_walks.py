"""Walks through the latent space of a run, and their files."""

import numpy as np
import pytest
import torch

import vaeflow
from vaeflow.errors import ConfigError, DataError
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run


def test_a_walk_decodes_the_codes_between_two_examples(people_run, people):
    run, table = Run.open(people_run), read_table(people)
    found = vaeflow.interpolate(run, 5, "7", people, steps=4)
    codes = vaeflow.encode(run, people).z[[3, 5]]  # the file counts its header
    weights = np.linspace(0, 1, 4)[:, None]
    np.testing.assert_allclose(found.z, (1 - weights) * codes[0] + weights * codes[1], atol=1e-6)
    beside = run.model.examples(run.form.columns.encode(table), {"group": table["group"]})[[3]]
    with torch.no_grad():
        x = run.model.generate(torch.from_numpy(found.z)[:, None], beside).mean[:, 0]
    np.testing.assert_allclose(found.x, x, rtol=1e-5, atol=1e-6)
    assert list(found.columns) == ["at", "z0", "z1", "z2", "age", "visits", "smokes", "site"]
    np.testing.assert_allclose(
        found.columns["age"], x[:, 0] * run.form.columns[0].spread + run.form.columns[0].center,
        atol=1e-3,
    )  # fmt: skip


def test_each_dimension_walks_over_quantiles_of_the_codes(trained):
    found = vaeflow.traverse(trained, dimensions=[2, 0], example=1, steps=5)
    origin = vaeflow.encode(trained, split="test").z[1]
    drawn = vaeflow.encode(trained, split="test", draws=1).z[:, 0]
    for row, i in enumerate((2, 0)):
        others = [k for k in range(3) if k != i]
        assert np.array_equal(found.z[row][:, others], np.tile(origin[others], (5, 1)))
        quantiles = np.quantile(drawn[:, i], np.linspace(0.02, 0.98, 5))
        np.testing.assert_allclose(found.z[row, :, i], quantiles, atol=1e-6)
    assert found.x.shape == (2, 5, 4, 4)
    assert found.columns["dimension"].tolist() == [2] * 5 + [0] * 5
    with pytest.raises(ConfigError, match="z has the dimensions 0 to 2"):
        vaeflow.traverse(trained, dimensions=[3])


STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".npz": b"PK", ".csv": b'"'}


@pytest.mark.parametrize(
    ("words", "of_table", "endings"),
    [
        (("interpolate", 0, 1, "--steps", 3), False, (".png", ".npz")),
        (("traverse", "--dimensions", "1", "--steps", 3), True, (".svg", ".csv")),
    ],
)
def test_walks_are_pictures_or_numbers(
    cli, trained, people_run, here, one_sentence, words, of_table, endings
):
    command, *rest = words
    for ending in endings:
        run = people_run if of_table else trained
        done = cli(command, run, *rest, "--out", f"walk{ending}")
        assert (done.code, done.out) == (0, f"wrote walk{ending}\n"), done.err
        assert (here / f"walk{ending}").read_bytes().startswith(STARTS[ending])
    done = cli(command, trained, *rest, "--out", f"walk{endings[0]}")
    assert "it exists, and nothing is overwritten" in done.err
    one_sentence(done.err.strip())


def test_the_ends_of_a_walk_show_the_grey_levels_of_which_the_data_are_draws(trained):
    run = Run.open(trained)
    found = vaeflow.interpolate(run, 0, 1, steps=2)
    assert run.settings()["binarization"] == "dynamic"
    grey = run.data(run.plan(load_plugins())).kept("test").index_select(0, torch.tensor([0, 1]))
    np.testing.assert_array_equal(np.stack([*found.ends.values()]), np.asarray(grey))
    assert not set(np.unique(grey)) <= {0, 1}


def test_columns_are_checked_before_a_walk(people_run):
    assert vaeflow.traverse(people_run, steps=2, columns=["age"]).drawn == ["age"]
    with pytest.raises(ConfigError, match=r"no such column \(did you mean 'age'"):
        vaeflow.traverse(people_run, columns=["agee"])
    with pytest.raises(ConfigError, match="chooses for --manifold"):
        vaeflow.latent(people_run, columns=["age"])


def test_a_row_that_is_not_there_is_named_with_those_that_are(people_run, trained, one_sentence):
    with pytest.raises(DataError, match="1 is no row of the test data: name one of") as caught:
        vaeflow.interpolate(people_run, 1, 2, split="test")
    one_sentence(str(caught.value))
    assert vaeflow.traverse(people_run, example=2, steps=2).name == "row 2, id P000"
    with pytest.raises(DataError, match="row 3 is in train and validation and test: choose by"):
        vaeflow.interpolate(trained, 3, 4, split="all")


@pytest.mark.parametrize("count", [1, 40])
def test_a_file_of_arrays_is_walked_as_an_array_is(tmp_path, monkeypatch, caplog, count):
    small = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}
    model = vaeflow.build((4, 4), latent=3, **small)
    x = np.random.RandomState(0).randint(2, size=(count, 4, 4)).astype(np.float32)
    np.save(path := tmp_path / "x.npy", x)
    monkeypatch.setattr("vaeflow.runs.latent._EXAMPLES", 7)  # more are thinned out
    caplog.set_level("INFO", "vaeflow")
    for walk in (
        lambda data: vaeflow.interpolate(model, 0, count - 1, data),
        lambda data: vaeflow.traverse(model, data, example=count - 1, steps=3),
        lambda data: vaeflow.latent(model, data, progress=False),
    ):
        one, other = walk(path), walk(x)
        assert one.arrays.keys() == other.arrays.keys()
        for name, values in one.arrays.items():
            np.testing.assert_array_equal(values, other.arrays[name])
    if count == 1:
        found = vaeflow.traverse(model, path)
        assert found.dimensions.tolist() == [0, 1, 2]
        drawn = vaeflow.encode(model, path, draws=1000).z[0]
        np.testing.assert_allclose(
            found.values, np.quantile(drawn, found.shares, 0).T, rtol=1e-5, atol=1e-6
        )
        assert "shown in their order" in caplog.text
        assert "nan" not in "".join(t.get_text() for t in found.figure().axes[0].texts)


def test_all_steps_have_the_covariates_of_their_example(people_run):
    run = Run.open(people_run)
    for example, group in ((2, "a"), (3, "b")):
        found = vaeflow.traverse(run, example=example, dimensions=[0, 1], steps=2)
        beside = run.model.examples(torch.zeros(1, *run.model.data_shape), {"group": [group]})
        with torch.no_grad():
            x = run.model.generate(torch.from_numpy(found.z[1])[:, None], beside).mean[:, 0]
        np.testing.assert_allclose(found.x[1], x, rtol=1e-5, atol=1e-6)
