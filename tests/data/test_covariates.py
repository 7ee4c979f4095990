"""Covariates: what they are taken for, and their numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vaeflow.data.columns import Column, Columns
from vaeflow.data.conditioning import condition_on
from vaeflow.data.covariates import describe, given_covariates, numbers_of, told
from vaeflow.data.places import in_table
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.weights import checked_weights
from vaeflow.errors import DataError


@pytest.mark.parametrize(
    ("values", "kind", "levels"),
    [
        (np.array([3, 1, 3, 2]), "category", ("1", "2", "3")),
        (np.array([3.0, 1.0, np.nan]), "category", ("1", "3")),
        (np.array([True, False]), "category", ("False", "True")),
        (np.array(["b", "a", None], object), "category", ("a", "b")),
        (np.array(["b", "a"]), "category", ("a", "b")),
        (np.arange(21), "number", ()),
        (np.array([0.5, 1.0]), "number", ()),
        (np.array([10, 2, 9]), "category", ("2", "9", "10")),
    ],
)
def test_texts_and_few_whole_numbers_are_categories(values, kind, levels):
    found = describe("it", values)
    assert (found.kind, found.levels) == (kind, levels)


def test_a_column_keeps_its_kind():
    few = np.array([0.0, 1.0, 1.0])
    assert describe("it", few, Column("it", "number", 3, 2)).kind == "number"
    assert describe("it", few, Column("it", "count")).kind == "category"
    boolean = Column("it", "boolean", levels=("no", "yes"))
    assert describe("it", few, boolean).levels == ("no", "yes")


def test_numbers_are_standardized_and_levels_counted():
    values = {"age": np.array([20.0, 40.0, 60.5]), "site": np.array(["n", "s", "n"])}
    columns = Columns(tuple(describe(n, v) for n, v in values.items()))
    found = numbers_of(columns, values)
    age = (values["age"] - values["age"].mean()) / values["age"].std()
    np.testing.assert_allclose(found[:, 0], age, rtol=1e-6)
    assert found[:, 1].tolist() == [0, 1, 0]


@pytest.mark.parametrize("three", [3, 3.0, "3", np.int64(3), torch.tensor(3)])
def test_a_level_is_given_as_number_or_text(three):
    columns = Columns((describe("digit", np.arange(10)),))
    assert given_covariates(columns, {"digit": three}).tolist() == [[3]]


def test_an_unknown_level_is_refused_with_the_known_ones():
    columns = Columns((describe("site", np.array(["north", "south"])),))
    with pytest.raises(DataError) as error:
        given_covariates(columns, {"site": "nort"})
    assert str(error.value) == (
        "site=nort: the training data held no such level (did you mean 'north'?); give one of "
        "north, south"
    )
    with pytest.raises(DataError, match=r"^example 1, 'site', holds 'nort', .*correct it"):
        given_covariates(columns, {"site": ["north", "nort"]})
    with pytest.raises(DataError, match=r"^digit=12: the .* no such level; give one of 0, 1, 2"):
        given_covariates(Columns((describe("digit", np.arange(10)),)), {"digit": 12})


# Covariates of a data set


def table(**more):
    """Return splits of a table of an age, a site of three levels and a height."""
    columns = Columns(
        (
            Column("age", "number", 40, 10),
            Column("site", "category", levels=("n", "s", "w")),
            Column("height", "number", 170, 9),
        )
    )
    site = torch.eye(3)[torch.arange(6) % 3]
    x = torch.cat([torch.linspace(-1, 1, 6)[:, None], site, torch.ones(6, 1)], 1)
    labels = {name: {"id": np.array(list("abcdef"), object)} for name in NAMES}
    return Splits(x, x.flip(0), x[:3], columns=columns, **{"labels": labels, **more})


def test_a_column_leaves_x_and_becomes_a_covariate():
    splits = condition_on(table(), ["site", "age"])
    assert splits.columns.names == ("height",)
    assert splits.data_shape == (1,)
    assert splits.covariates.names == ("site", "age")
    examples = splits.examples("validation")
    assert examples.condition[:, 0].tolist() == [2, 1, 0, 2, 1, 0]
    torch.testing.assert_close(
        examples.condition[:, 1], torch.linspace(-1, 1, 6).flip(0) / 0.6831301
    )
    assert splits.place("train")((2, 0)) == table().place("train")((2, 4))


def test_a_label_becomes_a_covariate_and_x_stays():
    splits = condition_on(table(), ["id"])
    assert splits.columns == table().columns
    assert splits.condition["train"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert condition_on(table(), []).covariates == Columns()


def test_covariates_and_weights_are_part_of_the_fingerprint():
    plain, other = table(), condition_on(table(), ["id"])
    assert plain.fingerprint() != other.fingerprint()
    assert plain.fingerprint() != table(weights={"train": np.ones(6)}).fingerprint()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["sit"], "no such label or column (did you mean 'site'?); it has id, age, site, height"),
        (["age", "site", "height"], "takes every column of the table, and leaves no data"),
    ],
)
def test_a_covariate_that_cannot_be_is_refused(names, told):
    with pytest.raises(DataError) as error:
        condition_on(table(), names)
    assert told in str(error.value)


def test_a_missing_covariate_is_refused_by_its_example():
    labels = {name: {"id": np.array(["a", "b", None, "a", "b", "b"], object)} for name in NAMES}
    told = r"training example 2 has no 'id' \(3 of 15 rows have none\)"
    with pytest.raises(DataError, match=told):
        condition_on(table(labels=labels), ["id"])
    places = dict.fromkeys(NAMES, in_table(Path("people.csv"), [9, 12, 7, 5, 3, 8], []))
    labels = {name: {"id": np.array(["a", None, "b", "a", None, "b"], object)} for name in NAMES}
    with pytest.raises(DataError, match=r"^people.csv: row 3 has no 'id'"):  # the first there
        condition_on(table(labels=labels, places=places), ["id"])


def test_a_missing_covariate_of_a_trained_model_is_cured_by_one_for_all_rows():
    columns = Columns((describe("site", np.array(["north", "south"])),))
    place = in_table(Path("people.csv"), [2, 3, 5], [])
    told = r"^people.csv: row 5 has no 'site' \(1 of 3 .* for all rows by --condition site=north$"
    with pytest.raises(DataError, match=told):
        given_covariates(columns, {"site": np.array(["north", "south", None], object)}, place)
    with pytest.raises(DataError, match=r"^'site' is missing, .* such as site=north"):
        given_covariates(columns, {"site": None})


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([1, 2], r"has shape \(2,\), but one weight for each of 3"),
        ([1, -1, 1], "of example 1 is -1"),
        ([1, np.nan, 1], "of example 1 is nan"),
        ([0, 0, 0], "is 0 for every example"),
        (["a", "b", "c"], "other values than numbers"),
    ],
)
def test_weights_are_numbers_from_0_on(weights, told):
    with pytest.raises(DataError, match=told):
        checked_weights("weight", weights, 3)


def test_covariates_are_told_in_the_units_of_the_data():
    columns = Columns((describe("digit", np.arange(3)), Column("age", "number", 40, 10)))
    assert told(columns, torch.tensor([[2.0, -1.5], [0.0, 0.0]])) == [
        "digit=2, age=25",
        "digit=0, age=40",
    ]
