"""Distinct values that float32 makes the same are told, and no others."""

import numpy as np
import pytest
import torch

import vaeflow
from vaeflow.data.places import in_array
from vaeflow.data.precision import warn_of_merged

RNG = np.random.default_rng(0)
FLOAT32 = np.dtype(np.float32)


def warnings(caplog, array, dtype=FLOAT32, **more):
    caplog.clear()
    warn_of_merged(array, in_array("x"), dtype, **more)
    return [record.getMessage() for record in caplog.records]


def merged(array, dtype=np.float32):
    return len(np.unique(array)), len(np.unique(array.astype(dtype)))


@pytest.mark.parametrize(
    "column",
    [
        2**24 + np.arange(60),
        -(2**24) - np.arange(60),
        1_700_000_000 + np.arange(60),  # Unix times of a minute
        2**31 + np.arange(60, dtype=np.uint64),
        2_460_000.5 + np.arange(60) / 86_400,  # Julian days
        1e9 + RNG.random(60),
    ],
    ids=["ids", "negative", "seconds", "unsigned", "days", "fractions"],
)
def test_values_that_fall_together_are_counted(caplog, column, one_sentence):
    (told,) = warnings(caplog, np.stack([np.zeros_like(column), column], 1))
    before, after = merged(column)
    assert after < before
    least = column.min().item()
    told_least = f"{least:.17g}" if isinstance(least, float) else str(least)
    assert told == (
        f"float32 cannot tell apart the values of x[:, 1] ({before} distinct ones become {after}): "
        f"subtract its smallest value, {told_least}, or leave it out"
    )
    one_sentence(told)
    assert not warnings(caplog, np.stack([column, column - column.min()], 1)[:, 1:])  # the cure


@pytest.mark.parametrize(
    "column",
    [
        np.arange(2**24 - 60, 2**24),
        2**24 + 2 * np.arange(60),  # even numbers are exact
        1_700_000_000 + 86_400 * np.arange(60),  # days, as Unix times
        np.full(60, 16_777_217),
        RNG.normal(size=60),
        1e12 * RNG.normal(size=60),
        np.repeat(RNG.normal(size=6), 10),
        RNG.integers(0, 256, 60),
        np.array([np.nan, np.inf, 1e300] * 20),
    ],
    ids=["below", "even", "days", "constant", "normal", "scaled", "few", "bytes", "infinite"],
)
def test_values_that_stay_apart_are_not_told(caplog, column):
    assert not warnings(caplog, np.stack([column, column], 1))


@pytest.mark.parametrize("x", [RNG.normal(size=(200_000, 1)), 300 + RNG.random((5_000, 1))])
def test_fractions_of_many_digits_are_not_told(caplog, x):
    before, after = merged(x)
    assert after < before  # a few of so many always fall together
    assert not warnings(caplog, x)


def test_types_that_float32_holds_are_not_looked_at(caplog):
    for dtype in (np.float16, np.float32, np.int16, np.uint8, bool):
        assert not warnings(caplog, np.ones((3, 2), dtype))
    assert not warnings(caplog, (2**24 + np.arange(60.0))[:, None], np.dtype(np.float64))
    assert warnings(caplog, (2**53 + np.arange(60))[:, None], np.dtype(np.float64))


def test_a_value_of_an_image_and_of_several_columns_is_named(caplog):
    x = np.zeros((60, 2, 3), np.int64)
    x[:, 1, 2] = x[:, 0, 1] = 2**24 + np.arange(60)
    for told, name in zip(warnings(caplog, x), ("x[:, 0, 1]", "x[:, 1, 2]"), strict=True):
        assert f"{name} (60 distinct ones become" in told
    *first, last = warnings(caplog, np.repeat(x[:, 1:, 2], 9, 1))
    assert len(first) == 3
    assert last == "nor the values of 6 columns more"


def test_ids_that_no_subtraction_saves_are_left_out(caplog):
    (told,) = warnings(caplog, np.array([[2**24], [2**24 + 1], [2**40], [2**40 + 1]]))
    assert told.endswith(": leave it out, or give its digits in two columns")


def test_values_that_the_array_rounds_already_are_compared_as_they_stand(caplog):
    ids = 10**18 + np.arange(60)
    (told,) = warnings(caplog, ids.astype(float)[:, None], exact={0: ids})
    assert "x[:, 0] (60 distinct ones become 1)" in told


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_arrays_given_in_python_are_told(caplog, kind):
    x = np.zeros((60, 3), np.int64)
    x[:, 1] = 2**24 + np.arange(60)
    model = vaeflow.build((3,), likelihood="gaussian", scaling="standardize", latent=2)
    vaeflow.fit(model, x if kind == "numpy" else torch.from_numpy(x), epochs=1)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "x[:, 1] (60 distinct ones become" in told
