"""What the arrays of a file are by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vaeflow.errors import DataError
from vaeflow.parts.datasets.roles import WHOLE, parts_of

PATH = Path("x.npz")
X, Y = np.zeros((6, 4)), np.arange(6)


def told_apart(**arrays) -> dict[str, tuple[str, list[str]]]:
    """Return split -> the name of the examples, and the names of the labels."""
    return {split: (p.name, sorted(p.labels)) for split, p in parts_of(PATH, arrays).items()}


@pytest.mark.parametrize("name", ["x", "faces", "train", "y", "x_test"])
def test_a_single_array_is_examples_by_any_name(name):
    assert told_apart(**{name: X}) == {WHOLE: (name, [])}


@pytest.mark.parametrize(
    ("x", "y", "label"),
    [
        ("x", "y", "label"), ("X", "y", "label"), ("data", "target", "label"),
        ("images", "labels", "label"), ("arr_0", "arr_1", "arr_1"), ("faces", "age", "age"),
        ("x_train", "y_train", "label"), ("features", "classes", "label"),
    ],
)  # fmt: skip
def test_one_array_and_labels(x, y, label):
    assert told_apart(**{x: X, y: Y}) == {WHOLE: (x, [label])}
    assert told_apart(**{y: Y[:, None], x: X}) == {WHOLE: (x, [label])}


@pytest.mark.parametrize("form", ["x_{}", "X_{}", "{}_x", "{}_images", "{}", "{}X", "{}-data"])
@pytest.mark.parametrize("words", [("train", "val", "test"), ("training", "valid", "testing")])
def test_the_name_of_a_split_stands_before_or_after(form, words):
    arrays = {form.format(word): X for word in words}
    arrays |= {f"y_{word}": Y for word in words} | {f"{word}_site": Y for word in words}
    expected = dict(zip(("train", "validation", "test"), arrays, strict=False))
    assert told_apart(**arrays) == {k: (name, ["label", "site"]) for k, name in expected.items()}


def test_labels_are_as_a_table_holds_them():
    arrays = {"x": X, "y": Y.astype(np.int8), "t": np.array(list("abcdef")), "b": Y > 2}
    labels = parts_of(PATH, {**arrays, "s": np.array(list("abcdef"), "S1")})[WHOLE].labels
    assert labels["label"].dtype == labels["b"].dtype == np.float64
    assert labels["t"].tolist() == labels["s"].tolist() == list("abcdef")
    assert labels["t"].dtype == object


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": X, "z": X}, "holds the arrays x, z: store one array"),
        ({"x": X, "x_train": X, "x_test": X}, "holds the arrays x, x_test, x_train: store"),
        ({"x_train": X, "x_val": X}, "x_train, x_val: store one array, or x_train and x_test"),
        ({"x_val": X, "x_test": X}, "x_test, x_val: store"),
        ({"train": X, "training": X, "test": X}, "test, train, training: store"),
        ({"y_train": Y, "y_test": Y}, "y_test, y_train: store"),
        ({"x": X, "y": Y[:5]}, "there are 5 labels 'label' for the 6 examples of x: store one"),
        ({"x": X, "y": np.eye(6)}, "have shape (6, 6), but (N,) is needed: store the number"),
        ({"x": X, "y": Y * 1j}, "labels 'label' have type complex128, but numbers or texts"),
    ],
    ids=["two", "both", "no test", "no training", "twice", "none", "few", "one-hot", "complex"],
)
def test_other_arrays_are_refused(arrays, told, one_sentence):
    with pytest.raises(DataError) as caught:
        parts_of(PATH, arrays)
    one_sentence(str(caught.value))
    assert told in str(caught.value)
