"""A value is called by where it stands in the file or array, whatever order it is used in."""

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import vaeflow
from vaeflow.data.binarization import binarize, dequantize, prepare_split, resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.data.places import by_index, in_array, in_files, in_table, moved
from vaeflow.data.splits import Splits
from vaeflow.errors import DataError


def test_each_kind_of_place_names_a_value_and_a_column(tmp_path):
    table = in_table(tmp_path / "people.csv", [2, 3, 7], ["age", "height"])
    assert table((2, 0)) == f"{tmp_path}/people.csv: row 7, column 'age'"
    assert table((None, 1)) == f"{tmp_path}/people.csv: column 'height'"
    assert in_table(tmp_path, range(1, 9), [])((3, 1)) == f"{tmp_path}: row 4, column 2"
    assert in_array("x")((3, 0, 2)) == "x[3, 0, 2]"
    assert in_array("x")((None, 0, 2)) == "x[:, 0, 2]"
    assert by_index("test")((3, 0, 2)) == "test example 3 at (0, 2)"
    assert by_index()((3, 1)) == "example 3 at (1)"
    assert in_files(["a.png", "b.png"])((1, 0, 4, 5)) == "b.png at (0, 4, 5)"
    assert table((2,)) == f"{tmp_path}/people.csv: row 7"
    assert in_array("x")((3,)) == "x[3]"
    assert by_index("test")((3,)) == "test example 3"
    assert in_files(["a.png", "b.png"])((1,)) == "b.png"


def test_a_place_moves_with_its_example():
    place = moved(in_array("x"), np.array([4, 0, 7]))
    assert place((2, 1)) == "x[7, 1]"
    assert moved(place, np.array([2, 1]))((0, 1)) == "x[7, 1]"
    assert place((None, 1)) == "x[:, 1]"


BAD = torch.tensor([[0.0, 1.0], [0.5, 3.0]])


@pytest.mark.parametrize(
    "refused",
    [
        lambda place: check_values("test", BAD, (2,), constraints.unit_interval, place),
        lambda place: check_values("test", BAD / 0, (2,), constraints.real, place),
        lambda place: binarize(BAD, "threshold", place),
        lambda place: dequantize(BAD, 3, place=place),
        lambda place: dequantize(BAD / 0, 3, place=place),
        lambda place: prepare_split(BAD, "dynamic", None, place),
        lambda place: prepare_split(BAD, "none", 3, place),
        lambda place: resolve_binarization("dynamic", BAD / 0, constraints.boolean, place),
    ],
)
def test_every_refusal_of_a_value_names_its_place(refused, one_sentence):
    with pytest.raises(DataError, match=r"rows\[\d, \d\] is (3|inf|nan)") as caught:
        refused(in_array("rows"))
    one_sentence(str(caught.value))


def test_a_split_of_unknown_origin_is_called_by_its_name():
    splits = Splits(BAD, BAD, BAD, places={"test": in_array("x")})
    assert splits.place("train")((1, 0)) == "training example 1 at (0)"
    assert splits.place("validation")((1, 0)) == "validation example 1 at (0)"
    assert splits.place("test")((1, 0)) == "x[1, 0]"


@pytest.mark.parametrize("name", ["x", "validation"])
@pytest.mark.parametrize("value", [float("nan"), 300.0])
def test_a_value_given_in_python_is_called_by_its_index(name, value):
    good = np.random.default_rng(0).random((20, 4))
    bad = good.copy()
    bad[17, 2] = value
    model = vaeflow.build((4,), likelihood="continuous-bernoulli", latent=2)
    data = {"x": good, "validation": good, name: bad}
    with pytest.raises(DataError, match=rf"^{name}\[17, 2\] is {value:g}[:,]"):
        vaeflow.fit(model, data["x"], data["validation"], epochs=1)
    with pytest.raises(DataError, match=rf"^x\[17, 2\] is {value:g}[:,]"):
        vaeflow.evaluate(model, bad)
