"""Values as text: a shown value, typed again, is the same value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.options import validate
from vaeflow.text import show

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)


@given(data=st.data())
@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (int, st.integers(-(10**18), 10**18)),
        (float, numbers),
        (bool, st.booleans()),
        (str, words),
        (Literal["relu", "leaky-relu"], st.sampled_from(["relu", "leaky-relu"])),
        (Literal[5000, 10000], st.sampled_from([5000, 10000])),
        (Literal["1", 2, True], st.sampled_from(["1", 2, True])),
        (tuple[int, ...], st.lists(st.integers(-999, 999)).map(tuple)),
        (tuple[float, ...], st.lists(numbers).map(tuple)),
        (tuple[int, int], st.tuples(st.integers(-9, 9), st.integers(-9, 9))),
        (list[int], st.lists(st.integers(-999, 999))),
        (float | None, st.none() | numbers),
        (tuple[int, ...] | None, st.none() | st.lists(st.integers(0, 9)).map(tuple)),
        (Path, words.map(Path)),
    ],
    ids=str,
)
def test_a_shown_value_reads_back_equal(annotation, values, data):
    class Holder:
        def __init__(self, *, x: Any) -> None:
            pass

    Holder.__init__.__annotations__["x"] = annotation
    value = data.draw(values)
    assert validate(Holder, {"x": show(value)}, "y")["x"] == value
