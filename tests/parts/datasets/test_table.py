"""Tables whose columns are of several kinds: what is taken, what is left out, what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import feather, parquet
from sklearn.datasets import load_digits

from vaeflow.errors import ConfigError, DataError, in_shell
from vaeflow.options import validate
from vaeflow.parts.datasets.table import Table

N = 60
ROWS = np.random.RandomState(0)
PEOPLE = {
    "id": [f"p{i:03d}" for i in range(N)],
    "age": ROWS.randint(18, 90, N).tolist(),
    "height": (1.5 + ROWS.rand(N) / 2).tolist(),
    "visits": [0, *ROWS.poisson(3, N - 1).tolist()],
    "smokes": ROWS.choice(["yes", "no"], N).tolist(),
    "site": ROWS.choice(["north", "south", "east"], N).tolist(),
    "country": ["Norway"] * N,
}
KINDS = {
    "age": "number", "height": "number", "visits": "count", "smokes": "boolean", "site": "category",
}  # fmt: skip


@pytest.fixture
def people(tmp_path):
    return csv(tmp_path / "people.csv", PEOPLE)


def csv(path, columns, separator=","):
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    cells = [["" if v is None else str(v) for v in line] for line in lines]
    path.write_text("\n".join(separator.join(line) for line in cells) + "\n", "utf-8")
    return path


def load(path, **options):
    return Table(path=path, **options).load()


def complaint(path, **options) -> str:
    with pytest.raises(DataError) as caught, in_shell():
        load(path, **options)
    return caught.value.written


def kinds(splits):
    return {column.name: column.kind for column in splits.columns}


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_each_column_is_read_by_its_kind(people, caplog):
    caplog.set_level(logging.INFO, "vaeflow")
    splits = load(people)
    assert kinds(splits) == KINDS
    assert splits.data_shape == (4 + 3,)
    assert not splits.gaps
    left, taken = messages(caplog)
    assert left == (
        f"{people}: left out id (60 different texts); country (with a single value): "
        "id stays beside the data, and `vaeflow encode` writes it with the codes"
    )
    assert taken.startswith(
        f"{people}: numbers age, height, counts visits, true or false smokes, categories site;"
    )


def test_what_goes_in_comes_out_in_its_own_units(people):
    splits = load(people)
    whole = {name: [] for name in PEOPLE}
    for split, x in splits:
        for name, values in {**splits.columns.decode(x.numpy()), **splits.labels[split]}.items():
            whole[name] += values.tolist()
    order = np.argsort(whole["id"])
    for name, values in PEOPLE.items():
        found = np.array(whole[name], object)[order].tolist()
        assert found == (pytest.approx(values) if name in ("age", "height") else values)


def test_numbers_have_mean_0_and_deviation_1_over_the_training_rows(people):
    splits = load(people)
    for name in ("age", "height"):
        x = splits.train[:, splits.columns.slices()[name]].double()
        assert x.mean().item() == pytest.approx(0, abs=1e-6)
        assert x.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    plain = load(people, standardize=False)
    assert sorted(torch.cat([x for _, x in plain])[:, 0].tolist()) == sorted(PEOPLE["age"])


def test_the_mean_is_of_what_was_observed(tmp_path):
    values = [None if i % 3 else 10.0 + i for i in range(N)]
    splits = load(csv(tmp_path / "x.csv", {"a": values, "b": PEOPLE["height"]}))
    assert splits.gaps
    x = splits.train[:, 0]
    assert x[~x.isnan()].double().mean().item() == pytest.approx(0, abs=1e-6)


def test_columns_are_chosen_and_dropped_by_name_and_pattern(people):
    assert kinds(load(people, columns=("age", "s*"))) == {
        k: v for k, v in KINDS.items() if k in ("age", "smokes", "site")
    }
    splits = load(people, drop=("*i*",))
    assert list(kinds(splits)) == ["age", "smokes"]
    assert {"visits", "site", "height", "id"} <= splits.labels["train"].keys()
    assert len(splits.labels["test"]["id"]) == len(splits.test)


def test_kinds_are_chosen_by_name_and_pattern(people):
    found = kinds(load(people, kinds={"age": "category", "v*": "number", "id": "category"}))
    assert found == {"id": "category", **KINDS, "age": "category", "visits": "number"}
    splits = load(people, kinds={"*": "number"}, columns=("age", "visits"))
    assert set(kinds(splits).values()) == {"number"}


@pytest.mark.parametrize("written", ["", "NA", "NaN", "n/a", "null", "None", "?", "#N/A", "-"])
def test_gaps_are_missing_and_told(tmp_path, caplog, written):
    ages = [written if i in (3, 7) else v for i, v in enumerate(PEOPLE["age"])]
    path = csv(tmp_path / "x.csv", {**PEOPLE, "age": ages})
    splits = load(path, columns=("age", "site"))
    assert splits.gaps
    assert sum(int(x[:, 0].isnan().sum()) for _, x in splits) == 2
    (told,) = messages(caplog)
    word = repr(written) if written else "empty"
    assert told == f"{path}: 2 of 120 values are missing, written as {word}: 2 of age"


def test_more_spellings_of_a_gap_can_be_given(tmp_path):
    ages = [-999 if i == 3 else v for i, v in enumerate(PEOPLE["age"])]
    path = csv(tmp_path / "x.csv", {**PEOPLE, "age": ages})
    assert load(path, missing=("-999",)).gaps
    assert not load(path).gaps


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_number_that_stands_for_a_gap_is_one_however_it_is_written(tmp_path, caplog, name):
    from vaeflow.parts.datasets.files.written import write_table

    ages = [-999.0 if i in (3, 5) else float(v) for i, v in enumerate(PEOPLE["age"])]
    write_table(tmp_path / name, {"age": np.array(ages), "height": np.array(PEOPLE["height"])})
    splits = load(tmp_path / name, missing=("-999",))
    assert sum(int(x.isnan().sum()) for _, x in splits) == 2
    assert "2 of 120 values are missing, written as '-999': 2 of age" in messages(caplog)[0]


def test_a_category_that_is_missing_is_missing_in_all_its_values(tmp_path):
    sites = [None if i == 3 else v for i, v in enumerate(PEOPLE["site"])]
    splits = load(csv(tmp_path / "x.csv", {**PEOPLE, "site": sites}), columns=("site", "age"))
    missing = torch.cat([x for _, x in splits]).isnan()
    assert missing.sum(0).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1] * 30, "boolean"),
        (["TRUE", "FALSE"] * 30, "boolean"),
        (["y", "n"] * 30, "boolean"),
        (["male", "female"] * 30, "category"),
        ([0, 2, 5] * 20, "count"),
        ([1, 2, 5] * 20, "number"),  # no count is 0
        ([0, 2, 5000] * 20, "number"),  # too many for a count
        ([1990, 2001, 2020] * 20, "number"),
        ([0, 0.5, 2] * 20, "number"),
        (["00501", "10001", "00502"] * 20, "category"),  # a number would lose the zeros
    ],
    ids=range(10),
)
def test_the_values_tell_the_kind(tmp_path, values, kind):
    path = csv(tmp_path / "x.csv", {"x": values, "other": PEOPLE["height"]})
    assert kinds(load(path))["x"] == kind


def test_levels_of_one_scale_are_numbers_and_told(tmp_path, caplog):
    pixels = load_digits().data[:100].astype(int)
    path = csv(tmp_path / "x.csv", {f"pixel{i}": pixels[:, i].tolist() for i in range(64)})
    counts = [name for name, kind in kinds(load(path)).items() if kind == "count"]
    assert not counts
    assert "are taken for levels 0 … 16 of one scale, and so for numbers" in caplog.text
    assert kinds(load(path, kinds={"pixel20": "count"}))["pixel20"] == "count"
    few = csv(tmp_path / "few.csv", {f"pixel{i}": pixels[:, i].tolist() for i in range(18, 23)})
    assert {*kinds(load(few)).values()} == {"count"}


@pytest.mark.parametrize("rate", [0.5, 2, 20])
@pytest.mark.parametrize("rows", [50, 1000])
def test_many_counts_stay_counts(tmp_path, rate, rows):
    values = np.random.RandomState(0).poisson(rate, (rows, 40))
    values[0] = 0
    path = csv(tmp_path / "x.csv", {f"word{i}": values[:, i].tolist() for i in range(40)})
    assert {*kinds(load(path)).values()} <= {"count", "boolean"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (list(range(N)), "which counts the rows"),
        (list(range(17, 17 + N)), "which counts the rows"),
        ([None] * N, "without a value"),
        ([4] * N, "with a single value"),
        ([4, None] * (N // 2), "with a single value"),
        ([f"2020-01-{1 + i % 28:02d}" for i in range(N)], "dates or times"),
        ([f"2020-01-01 10:{i:02d}:00" for i in range(N)], "dates or times"),
        ([f"{1 + i % 28:02d}.01.2020" for i in range(N)], "dates or times"),
        ([f"name {i % 40}" for i in range(N)], "40 different texts"),
    ],
    ids=range(9),
)
def test_columns_that_carry_nothing_are_left_out_and_told(tmp_path, caplog, values, why):
    path = csv(tmp_path / "x.csv", {"x": values, "other": PEOPLE["height"]})
    splits = load(path)
    assert kinds(splits) == {"other": "number"}
    assert len(splits.labels["train"]["x"]) == len(splits.train)
    assert f"{path}: left out x ({why})" in messages(caplog)[0]


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
def test_an_index_without_a_name_is_left_out_and_told(tmp_path, caplog, first):
    path = csv(tmp_path / "x.csv", {first: PEOPLE["visits"], "age": PEOPLE["age"]})
    splits = load(path)
    assert kinds(splits) == {"age": "number"}
    assert splits.labels["train"].keys() == {"Unnamed: 0"}
    assert messages(caplog)[0].startswith(f"{path}: left out Unnamed: 0 (an index)")


def test_the_cure_of_what_is_left_out_takes_it_in(tmp_path, caplog):
    towns = [f"t{i % 55}" for i in range(165)]
    path = csv(tmp_path / "x.csv", {"town": towns, "age": PEOPLE["age"] * 2 + PEOPLE["age"][:45]})
    load(path)
    told = f"{path}: left out town (55 different texts): --dataset.kinds town=category takes it in"
    assert messages(caplog)[0] == told
    assert kinds(load(path, kinds={"town": "category"}))["town"] == "category"


def test_gaps_of_one_column_more_are_told_of_one(tmp_path, caplog):
    gaps = {name: ["", *PEOPLE["height"][1:]] for name in "abcde"}
    load(csv(tmp_path / "x.csv", gaps))
    assert messages(caplog)[0].endswith("1 of a, 1 of b, 1 of c, 1 of d, 1 of 1 other column")


def test_ids_beyond_float32_are_told(tmp_path, caplog):
    ids = (ROWS.permutation(N) * 1000 + 1_700_000_000).tolist()
    load(csv(tmp_path / "x.csv", {"session": ids, "age": PEOPLE["age"]}))
    (told,) = messages(caplog)
    assert "column 'session' holds 60 different whole numbers" in told
    assert "--dataset.drop session" in told


def test_numbers_that_float64_rounds_together_are_told(tmp_path, caplog):
    ids = [2**60 + i % 50 for i in range(N)]
    load(csv(tmp_path / "x.csv", {"user": ids, "age": PEOPLE["age"]}))
    (told,) = messages(caplog)
    assert "column 'user' holds whole numbers beyond 2^53, of which 50 different ones" in told
    assert "--dataset.drop user" in told


def test_a_column_splits_the_rows(tmp_path):
    parts = (["train"] * 4 + ["Valid", "testing"]) * (N // 6)
    path = csv(tmp_path / "x.csv", {**PEOPLE, "part": parts})
    splits = load(path, split="part")
    assert splits.sizes() == {"train": 40, "validation": 10, "test": 10}
    assert splits.labels["validation"]["id"].tolist() == PEOPLE["id"][4::6]
    assert "part" not in kinds(splits)


def test_validation_rows_are_taken_off_the_training_rows_and_told(tmp_path, caplog):
    parts = (["train"] * 5 + ["test"]) * (N // 6)
    path = csv(tmp_path / "x.csv", {**PEOPLE, "part": parts})
    splits = load(path, split="part", drop=("id", "country"))
    assert splits.sizes() == {"train": 45, "validation": 5, "test": 10}
    both = {*splits.labels["train"]["id"], *splits.labels["validation"]["id"]}
    assert both == {i for i, part in zip(PEOPLE["id"], parts, strict=True) if part == "train"}
    assert f"{path} holds no validation data: 5 of its 50 training examples" in messages(caplog)[0]


def test_weights_go_with_their_rows(tmp_path):
    weights = ROWS.rand(N).tolist()
    splits = load(csv(tmp_path / "x.csv", {**PEOPLE, "w": weights}), weights="w")
    assert "w" not in kinds(splits)
    of = dict(zip(PEOPLE["id"], weights, strict=True))
    for split, found in splits.weights.items():
        assert found.tolist() == [of[i] for i in splits.labels[split]["id"]]


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"age": ["x", *PEOPLE["age"][1:]]}, {}, "row 2, column 'age' holds 'x' among 59 numbers"),
        (
            {"age": ['"1,234"', *PEOPLE["age"][1:]]},
            {},
            "row 2, column 'age' holds '1,234', whose mark may stand before decimals or between",
        ),
        (
            {"age": [f"{age}%" for age in PEOPLE["age"]]},
            {},
            f"row 2, column 'age' holds '{PEOPLE['age'][0]}%', a number with a unit: write plain",
        ),
        ({"age": ["inf", *PEOPLE["age"][1:]]}, {}, "row 2, column 'age' holds inf, but a number"),
        ({}, {"kinds": {"site": "number"}}, "row 2, column 'site' holds "),
        ({}, {"kinds": {"height": "count"}}, "but a whole number from 0 on is needed"),
        ({}, {"kinds": {"site": "boolean"}}, "column 'site' has 3 values, but a boolean has two"),
        ({}, {"columns": ("id",)}, "holds 60 different texts there: use --dataset.kinds id=cat"),
        ({}, {"columns": ("agge",)}, "has no such column (did you mean 'age'?); it has id, age"),
        ({}, {"drop": ("agge",)}, "--dataset.drop agge: "),
        ({}, {"drop": ("*",)}, "no column is left as data"),
        ({}, {"weights": "w"}, "--dataset.weights w: "),
        ({}, {"weights": "site"}, "not a number: correct it, or drop the row"),
        ({"age": [-1, *PEOPLE["age"][1:]]}, {"weights": "age"}, "row 2, column 'age' is -1, but a"),
        ({"age": [0] * N}, {"weights": "age"}, "all weights in column 'age' are 0"),
        ({}, {"split": "site"}, "but train, validation or test is expected"),
        ({"site": ["train"] * N}, {"split": "site"}, "no row is of the split test"),
    ],
    ids=range(17),
)
def test_what_cannot_be_meant_is_refused(tmp_path, changes, options, told, one_sentence):
    path = csv(tmp_path / "x.csv", {**PEOPLE, **changes})
    message = complaint(path, **options)
    one_sentence(message)
    assert str(path) in message
    assert told in message


def test_the_cures_of_a_text_among_numbers_work(tmp_path):
    ages = ["unknown", *PEOPLE["age"][1:]]
    path = csv(tmp_path / "x.csv", {**PEOPLE, "age": ages})
    message = complaint(path)
    assert "--dataset.missing unknown, or take the column for texts by --dataset.kinds age=" in (
        message
    )
    assert load(path, missing=("unknown",)).gaps
    assert kinds(load(path, kinds={"age": "category"}))["age"] == "category"


def test_unknown_options_are_refused(people, one_sentence):
    for options in ({"separator": "x"}, {"kinds": {"age": "numbr"}}):
        with pytest.raises(ConfigError) as caught:
            Table(path=people, **options)
        one_sentence(str(caught.value))


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.feather", "x.tsv", "x.csv.gz"])
def test_every_format_gives_the_same_data(tmp_path, people, name):
    from vaeflow.parts.datasets.files.written import write_table

    path = tmp_path / name
    write_table(path, {k: np.array(v, object if k != "age" else None) for k, v in PEOPLE.items()})
    assert load(path).fingerprint() == load(people).fingerprint()


def test_types_of_parquet_are_kept(tmp_path, caplog):
    from datetime import datetime
    from decimal import Decimal

    path = tmp_path / "x.parquet"
    half = N // 2
    table = pa.table({
        "category": pa.array(["a", "b"] * half).dictionary_encode(),
        "flag": [True, None] + [False, True] * (half - 1),
        "price": [Decimal("1.25"), Decimal("2.50")] * half,
        "when": [datetime(2020, 1, 1 + i % 28) for i in range(N)],
        "nothing": pa.nulls(N),
        "vector": [[1.0, 2.0]] * N,
        "int": pa.array([None, *range(1, N)], pa.uint8()),
        "__index_level_0__": PEOPLE["visits"],
        "": PEOPLE["age"],
    })  # fmt: skip
    parquet.write_table(table, path)
    splits = load(path)
    assert kinds(splits) == {
        "category": "category", "flag": "boolean", "price": "number", "int": "number",
    }  # fmt: skip
    (flag,) = [c for c in splits.columns if c.name == "flag"]
    assert flag.levels == ("false", "true")
    told = messages(caplog)[0]
    for part in (
        "when (dates or times)",
        "nothing (without a value)",
        "__index_level_0__, Unnamed: 8 (an",
    ):
        assert part in told
    assert "vector (of type list<" in told
    assert splits.labels["train"]["when"][0].startswith("2020-01-")


class Frame:
    """What pandas and polars offer other libraries."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("wrap", [Frame, lambda table: table], ids=["stream", "pyarrow"])
def test_a_data_frame_is_a_table(people, wrap):
    splits = Table.of(wrap(pa.table(PEOPLE)), drop=["visits"])
    assert splits.fingerprint() == load(people, drop=("visits",)).fingerprint()


@pytest.mark.parametrize(
    "options",
    [
        {"kinds": "visits=number", "drop": "site"},
        {"kinds": {"visits": "number"}, "drop": ["site"]},
        {"kinds": "visits=number", "columns": "age,visits"},
        {"missing": -1, "test": "0.2", "standardize": "false"},
    ],
)
def test_a_data_frame_takes_options_as_text_and_as_python_has_them(options):
    told = {k: str(v) if k == "missing" else v for k, v in options.items()}
    splits = Table.of(pa.table(PEOPLE), **told)
    kinds = {column.name: column.kind for column in splits.columns}
    assert kinds["visits"] == ("number" if "kinds" in options else "count")
    assert ("site" in kinds) == ("missing" in options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kinds": "visits=numbr"}, "option kinds: got numbr, expected"),
        ({"kinds": 3}, "option kinds: got 3, expected name=one of number"),
        ({"kind": "visits=number"}, r"option kind: unknown option \(did you mean 'kinds'\?\)"),
        ({"drop": 3}, "option drop: got 3, expected text, …"),
        ({"path": "x.csv"}, "path is an option of files"),
        ({"test": 1.5}, "option test: got 1.5, expected number"),
    ],
)
def test_a_wrong_option_of_a_data_frame_takes_one_sentence(options, told, one_sentence):
    with pytest.raises(
        ConfigError, match=told.replace("option ", "(option |--dataset.)")
    ) as caught:
        Table.of(pa.table(PEOPLE), **options)
    one_sentence(str(caught.value))


def test_a_data_frame_is_no_path():
    with pytest.raises(
        ConfigError, match=r"got a Table, expected path: .*Table.of\(frame\)"
    ) as caught:
        validate(Table, {"path": pa.table(PEOPLE)}, "dataset")
    assert len(str(caught.value)) < 200


def test_what_is_no_data_frame_is_refused(one_sentence):
    with pytest.raises(DataError, match="is a list that pyarrow does not take") as caught:
        Table.of([1, 2])
    one_sentence(str(caught.value))


def test_a_stream_of_arrow_is_read(tmp_path, people):
    path = tmp_path / "x.arrow"
    table = pa.table(PEOPLE)
    with pa.ipc.new_stream(path, table.schema) as out:
        out.write_table(table)
    assert load(path).fingerprint() == load(people).fingerprint()
    feather.write_feather(table, path, compression="lz4")
    assert load(path).fingerprint() == load(people).fingerprint()
