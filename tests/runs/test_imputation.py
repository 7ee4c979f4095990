"""Gaps of tables and arrays, filled in by a run: in the data's own units, and told."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

import vaeflow
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.imputation import impute_examples
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.runs.directory import Run
from vaeflow.runs.filled import _listed
from vaeflow.runs.imputation import _put, impute

MISSING = {"age": "", "visits": "", "smokes": "", "site": ""}


@pytest.fixture(scope="module")
def filled(people_run):
    return impute(people_run, samples=200, progress=False)


def gaps(values):
    return np.array([v is None or v != v for v in values])


def test_gaps_alone_are_filled_in_the_order_of_the_file(filled, people):
    table = read_table(people)
    assert list(filled.columns) == list(table)
    for name, values in filled.columns.items():
        known = ~gaps(table[name])
        assert np.array_equal(values[known], table[name][known]), name
        assert not gaps(values).any(), name
    assert set(filled.columns["site"]) == {"north", "south", "west"}
    assert set(filled.columns["smokes"]) == {"no", "yes"}
    assert filled.gaps == {name: int(gaps(table[name]).sum()) for name in MISSING}


def test_the_values_are_those_of_the_model_in_units_of_the_data(filled, people_run, people):
    run, table = Run.open(people_run), read_table(people)
    condition = {"group": table["group"]}
    data = run.model.examples(run.form.columns.encode(table), condition)
    found = impute_examples(run.model, data, samples=200)
    age, slices = run.form.columns[0], run.form.columns.slices()
    missing = gaps(table["age"])
    x, spread = found.x.numpy(), found.spread.numpy()
    wanted = x[missing, 0].astype(float) * age.spread + age.center
    np.testing.assert_allclose(filled.columns["age"][missing], wanted, rtol=0, atol=1e-5)
    assert 0 < abs(wanted - 40).max() < 30
    np.testing.assert_allclose(
        filled.spread["age_sd"][missing], spread[missing, 0] * age.spread, rtol=1e-5
    )
    missing = gaps(table["site"])
    share = x[missing][:, slices["site"]]
    np.testing.assert_allclose(filled.spread["site_probability"][missing], share.max(1))
    levels = np.array(["north", "south", "west"], object)
    assert filled.columns["site"][missing].tolist() == levels[share.argmax(1)].tolist()
    missing = gaps(table["smokes"])
    yes = x[missing, slices["smokes"].start]
    told = np.where(filled.columns["smokes"][missing] == "yes", yes, 1 - yes)
    np.testing.assert_allclose(filled.spread["smokes_probability"][missing], told)


def test_the_spread_is_told_of_what_was_missing_alone(filled, people):
    table = read_table(people)
    names = ["age_sd", "visits_mean", "visits_sd", "smokes_probability", "site_probability"]
    assert list(filled.spread) == [*names, "effective_sample_size", "pareto_k"]
    for name in names:
        assert np.array_equal(np.isnan(filled.spread[name]), ~gaps(table[name.split("_")[0]]))
    complete = ~np.any([gaps(table[name]) for name in MISSING], 0)
    assert np.array_equal(np.isnan(filled.spread["effective_sample_size"]), complete)


def test_it_says_what_it_did(filled):
    first, second, *_ = str(filled).splitlines()
    count, some = sum(filled.gaps.values()), int(filled.imputed.incomplete.sum())
    each = ", ".join(f"{name} {n}" for name, n in filled.gaps.items())
    assert first == f"filled {count} values in {some} of 80 rows: {each}"
    assert second.startswith("effective sample size of K = 200 draws: ")
    least = int(np.nanargmin(filled.spread["effective_sample_size"]))
    assert f"(row {read_rows(filled)[least]}, the least)" in second


def read_rows(filled):
    return [int(name[1:]) + 2 for name in filled.columns["id"]]  # behind the header


def test_gaps_in_other_columns_are_told(people_run):
    row = {"age": [41.0, None], "visits": [0, 2], "smokes": ["yes", "no"], "site": ["west", "west"]}
    told = str(impute(people_run, {**row, "group": ["a", "b"], "note": [None, "x"]}, samples=9))
    assert told.startswith("left empty, in columns that the model does not know: note 1\nfilled 1 ")


def test_many_columns_are_told_in_a_line():
    assert _listed({"a": 1, "b": 2000}) == "a 1, b 2,000"
    told = _listed({f"c{i}": i for i in range(30)})
    assert told.endswith("c9 9, … (30 columns)")


def test_rows_whose_weights_are_unreliable_are_told(filled):
    k_hat = torch.full((80,), 0.9).where(torch.arange(80) < 7, 0.1)
    told = str(replace(filled, imputed=replace(filled.imputed, pareto_k=k_hat)))
    assert "(Pareto-k̂ above 0.7) of 7 rows: row 2, row 3, row 4, row 5, row 6, …;" in told
    assert "more draws do not mend" in told


def test_a_count_is_filled_in_by_a_whole_number(filled, people):
    missing = gaps(read_table(people)["visits"])
    values, mean = filled.columns["visits"], filled.spread["visits_mean"]
    assert values.dtype.kind == "i"
    assert (values >= 0).all()
    assert np.abs(values[missing] - mean[missing]).max() <= 0.5
    assert (mean[missing] % 1 > 0).any()


def test_rows_are_told_apart_by_their_ids_or_numbers(filled, people_run):
    assert list(filled.key) == ["id"]
    assert filled.key["id"].tolist() == filled.columns["id"].tolist()
    rows = {"age": [30.0, None], "visits": [1, 2], "smokes": ["no", "no"], "site": ["west", "west"]}
    key = impute(people_run, {**rows, "group": ["a", "a"]}, samples=9).key
    assert {name: values.tolist() for name, values in key.items()} == {"row": [0, 1]}  # by position


@pytest.mark.parametrize("form", ["dict", "frame", "file"])
def test_other_data_of_the_same_form_is_filled_in(form, people_run, tmp_path):
    rows = {
        "visits": [3.0, None],
        "site": [None, "west"],
        "note": ["seen", "new"],
        "age": [None, 51.5],
        "smokes": ["no", None],
        "group": ["b", "a"],
    }
    data = rows if form == "dict" else pa.table(rows)
    if form == "file":
        data = tmp_path / "new.csv"
        with open(data, "w", newline="") as file:
            csv.writer(file).writerows([rows, *zip(*rows.values(), strict=True)])
    found = impute(people_run, data, samples=50)
    assert list(found.columns) == list(rows)
    assert found.columns["note"].tolist() == ["seen", "new"]
    assert found.columns["age"][1] == 51.5
    assert not any(gaps(values).any() for values in found.columns.values())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"site": ["east", "west"]}, "'site'.* holds 'east', which the training data did not"),
        ({"visits": [-1.0, 2.0]}, r"visits.* is -1, but the count 'visits' needs whole numbers"),
        ({"age": None}, r"no column 'age' \(did you mean 'ages'"),
        ({"group": None}, "conditioned on 'group', which is not given"),
    ],
)
def test_data_of_another_form_is_refused(changes, told, people_run):
    rows = {
        "age": [30.0, None], "visits": [1.0, 2.0], "smokes": ["no", "no"], "site": ["west", "west"],
        "group": ["a", "b"], "ages": [1.0, 2.0],
    }  # fmt: skip
    rows = {k: v for k, v in {**rows, **changes}.items() if v is not None}
    with pytest.raises(DataError, match=told):
        impute(people_run, rows)


def test_a_covariate_may_be_given_beside_the_data(people_run):
    rows = {"age": [30.0, None], "visits": [1.0, 2.0], "smokes": ["no", "no"], "site": [None, None]}
    found = impute(people_run, rows, condition={"group": "b"}, samples=20)
    same = impute(people_run, {**rows, "group": ["b", "b"]}, samples=20)
    assert np.array_equal(found.x, same.x)


def test_data_without_a_gap_stays_as_it_is(people_run, people):
    row = {"age": [41.0], "visits": [0.0], "smokes": ["yes"], "site": ["west"], "group": ["a"]}
    found = impute(people_run, row)
    assert str(found) == "no value is missing: nothing is filled in"
    assert {name: values.tolist() for name, values in found.columns.items()} == row


@pytest.fixture(scope="module")
def array_run(cli, tiny, tmp_path_factory):
    """A run on pictures of 8 bits with gaps, whose file is .npz with splits."""
    folder = tmp_path_factory.mktemp("array")
    rng = np.random.RandomState(0)
    arrays = {name: rng.rand(n, 1, 3, 4) * 255 for name, n in (("train", 30), ("test", 12))}
    for x in arrays.values():
        x[rng.rand(*x.shape) < 0.2] = np.nan
    np.savez(folder / "gaps.npz", **arrays)
    done = cli(
        "train", *tiny, "--dataset", "file", "--dataset.path", folder / "gaps.npz",
        "--dataset.scale", 255, "--likelihood", "gaussian", "--missing", "mask",
        "--no-tensorboard", "--run-dir", folder / "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder / "run", arrays


def test_the_gaps_of_arrays_are_filled_in(array_run):
    run, arrays = array_run
    found = impute(run, samples=20)
    given = np.concatenate([arrays["train"], arrays["test"]]) / 255
    known = ~np.isnan(given)
    np.testing.assert_allclose(found.x[known], given[known], rtol=1e-6)
    assert np.isfinite(found.x).all()
    assert found.given.splits.tolist() == ["train"] * 30 + ["test"] * 12
    assert not found.columns
    assert "examples" in str(found)
    again = impute(run, given, samples=20)
    np.testing.assert_allclose(again.x, found.x, rtol=1e-5, atol=1e-6)


def test_a_model_without_masks_says_what_to_do(trained):
    with pytest.raises(ConfigError, match="no missing values: train it again with --missing mask"):
        impute(trained)


def test_a_table_in_python_from_the_frame_to_its_filled_columns(people, tmp_path, one_sentence):
    frame = pa.table(dict(read_table(people)))
    data = vaeflow.datasets.Table.of(frame, drop=["group"])
    model = vaeflow.build(
        data.data_shape,
        latent=2,
        likelihood=("columns", {"of": {"visits": "poisson"}}),
        missing="mask",
        columns=data.columns,
    )
    fitted = vaeflow.fit(model, data.train, data.validation, epochs=1, progress=False)
    found = vaeflow.impute(model, frame, samples=20, progress=False)
    assert not any(gaps(values).any() for values in found.columns.values())
    run = vaeflow.save(fitted, tmp_path / "run")
    same = vaeflow.impute(run, frame, samples=20, progress=False)
    assert list(same.columns["site"]) == list(found.columns["site"])
    assert np.array_equal(same.spread["age_sd"], found.spread["age_sd"], equal_nan=True)
    with pytest.raises(DataError, match=r"as in vaeflow\.impute\(RUN, frame\)") as caught:
        vaeflow.impute(run)
    one_sentence(str(caught.value))
    with pytest.raises(ConfigError, match="a model has no data of its own"):
        vaeflow.impute(model)


@pytest.mark.parametrize(
    ("values", "found", "wanted"),
    [
        ([True, None], ["false"], [True, False]),
        (["yes", None], ["no"], ["yes", "no"]),
        (["1", None], [2.5], ["1", "2.5"]),  # numbers that were read as texts
        ([1.0, np.nan], [2.5], [1.0, 2.5]),
        ([1.0, np.nan], [np.int64(2)], [1, 2]),  # a count
        ([1.0, np.nan], [np.float32(0.1)], [1.0, 0.1]),
        ([np.nan, np.nan], ["west"], [np.nan, "west"]),  # an empty column
    ],
)
def test_a_column_keeps_the_type_that_it_was_read_with(values, found, wanted):
    kind = float if isinstance(values[0], float) else object
    found = np.array(found, object if isinstance(found[0], str) else None)
    filled = _put(np.array(values, kind), np.array([False, True]), found)
    assert [*map(str, filled)] == [*map(str, wanted)]
    assert [*map(type, filled.tolist())] == [*map(type, wanted)]


def test_filled_data_writes_itself_as_the_command_does(cli, filled, people_run, tmp_path):
    paths = filled.save(tmp_path / "filled.csv")
    assert [path.name for path in paths] == ["filled.csv", "filled.spread.csv"]
    done = cli("impute", people_run, "--samples", 200, "--out", tmp_path / "again.csv")
    assert done.code == 0, done.err
    for path, other in zip(paths, ("again.csv", "again.spread.csv"), strict=True):
        assert path.read_bytes() == (tmp_path / other).read_bytes()
    with pytest.raises(ConfigError, match="it exists, and nothing is overwritten"):
        filled.save(tmp_path / "filled.csv")


def test_a_frame_s_whole_numbers_stay_so(people_run):
    rows = {"age": [30.0, None], "visits": [1, 2], "smokes": ["no", "no"], "site": ["west", "west"]}
    found = impute(people_run, {**rows, "group": ["a", "a"], "number": [7, 8]}, samples=9)
    assert {found.columns[n].dtype.kind for n in ("visits", "number")} == {"i"}
    assert found.columns["number"].tolist() == [7, 8]
