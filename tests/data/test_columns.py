"""Columns: values to the numbers of x and back, and values that a column does not take."""

from __future__ import annotations

import numpy as np
import pytest

from vaeflow.data.columns import Column, Columns, spelled
from vaeflow.data.table import Table
from vaeflow.errors import DataError

COLUMNS = Columns((
    Column("age", "number", center=40.0, spread=10.0),
    Column("visits", "count"),
    Column("smokes", "boolean", levels=("no", "yes")),
    Column("flag", "boolean", levels=("0", "1")),
    Column("site", "category", levels=("east", "north", "south")),
    Column("ward", "category", levels=("1", "2", "10")),
))  # fmt: skip
VALUES = {
    "age": np.array([30.0, np.nan, 55.5]),
    "visits": np.array([0.0, 3.0, np.nan]),
    "smokes": np.array(["yes", None, "no"], object),
    "flag": np.array([1.0, 0.0, np.nan]),
    "site": np.array(["south", "east", None], object),
    "ward": np.array([10.0, np.nan, 1.0]),
}
X = np.array([
    [-1, 0, 1, 1, 0, 0, 1, 0, 0, 1],
    [np.nan, 3, np.nan, 0, 1, 0, 0, np.nan, np.nan, np.nan],
    [1.55, np.nan, 0, np.nan, np.nan, np.nan, np.nan, 1, 0, 0],
])  # fmt: skip


def test_values_are_encoded_and_decoded():
    x = COLUMNS.encode(VALUES)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, X.astype(np.float32))
    for name, values in COLUMNS.decode(x).items():
        if values.dtype == object:
            assert values.tolist() == VALUES[name].tolist()
        else:
            np.testing.assert_allclose(values, VALUES[name], rtol=1e-6)


def test_means_are_decoded_as_the_most_probable_level():
    means = np.array([[0, 0, 0.4, 0.6, 0.2, 0.5, 0.3, 0.1, 0.2, 0.7]], np.float32)
    decoded = {name: values.tolist() for name, values in COLUMNS.decode(means).items()}
    assert (decoded["smokes"], decoded["flag"]) == (["no"], [1.0])
    assert (decoded["site"], decoded["ward"]) == (["north"], [10.0])


def test_each_number_of_an_example_has_a_name():
    assert COLUMNS.labels()[2:7] == [
        "smokes",
        "flag",
        "site = east",
        "site = north",
        "site = south",
    ]
    assert len(COLUMNS.labels()) == COLUMNS.width == X.shape[1]


def test_levels_of_a_boolean_may_have_other_capitals():
    values = np.array(["YES", "No"], object)
    assert COLUMNS[2].encode(values)[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "age",
            "old",
            "holds 'old', but a number is expected: correct it, or leave the cell empty",
        ),
        (
            "site",
            "west",
            "holds 'west', which the training data did not: it held east, north, south",
        ),
        ("flag", 2.0, "holds '2', which the training data did not: it held 0, 1"),
        ("ward", 3.0, "holds '3', which the training data did not: it held 1, 2, 10"),
    ],
)
def test_a_value_that_is_none_of_the_column_s_is_named_by_its_row(name, value, told, one_sentence):
    kind = object if isinstance(value, str) else float
    arrays = {**VALUES, name: np.array([*VALUES[name][:2].tolist(), value], kind)}
    types = {n: "text" if v.dtype == object else "number" for n, v in arrays.items()}
    table = Table("new.csv", arrays, [2, 3, 5], types)
    with pytest.raises(DataError) as caught:
        COLUMNS.encode(table)
    one_sentence(str(caught.value))
    assert str(caught.value).startswith(f"new.csv: row 5, column {name!r} {told}")


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(
        DataError, match=r"no column 'site' \(did you mean 'sites'\?\): the model .* age, v"
    ):
        COLUMNS.encode({("sites" if name == "site" else name): v for name, v in VALUES.items()})


def test_columns_are_kept_as_plain_values():
    assert Columns.from_list(COLUMNS.as_list()) == COLUMNS


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (0.5, "0.5"), (np.float32(0.5), "0.5"), (3, "3"), ("a", "a"), (None, None),
     (np.nan, None), (np.inf, "inf")],
)  # fmt: skip
def test_a_value_is_spelled_as_a_level(value, text):
    assert spelled(value) == text
