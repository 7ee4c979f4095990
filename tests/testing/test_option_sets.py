"""The sets of options that a part is checked with."""

import itertools
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from vaeflow.errors import ConfigError
from vaeflow.parts.datasets.file import File
from vaeflow.parts.datasets.mnist import MNIST
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.testing import variants
from vaeflow.testing.option_sets import combinations


def test_each_other_choice_is_tried_alone():
    assert variants(Gaussian) == [
        {}, {"scale": "shared"}, {"scale": "pixel"}, {"scale": "optimal"}, {"link": "sigmoid"},
        {"sigma": 0.75, "floor": 0.0075},
    ]  # fmt: skip
    assert variants(Planar) == [
        {}, {"steps": 0}, {"steps": 1}, {"amortize": "none"}, {"init": "glorot"},
        {"init": "truncated-normal"}, {"steps": 17},
    ]  # fmt: skip
    assert variants(MNIST) == [{}, {"validation": 10000}]  # a number of a few


def test_a_required_option_leaves_none():
    assert variants(File) == []


def test_the_options_that_are_given_stay():
    assert variants(Gaussian, {"sigma": 2.0, "link": "sigmoid"}) == [
        {"sigma": 2.0, "link": "sigmoid"},
        {"sigma": 2.0, "link": "sigmoid", "scale": "shared"},
        {"sigma": 2.0, "link": "sigmoid", "scale": "pixel"},
        {"sigma": 2.0, "link": "sigmoid", "scale": "optimal"},
        {"sigma": 2.0, "link": "sigmoid", "floor": 0.0075},
    ]
    assert variants(File, {"path": "x.npy"})[0] == {"path": "x.npy"}


def test_options_that_the_part_refuses_are_left_out():
    class Part(ELBO):
        def __init__(
            self,
            *,
            steps: PositiveInt = 2,
            how: Literal["a", "b"] = "a",
            loud: bool | None = None,
            count: NonNegativeInt = 3,
        ) -> None:
            super().__init__()
            if how == "b":
                raise ConfigError("b is for later")

    assert variants(Part) == [
        {}, {"steps": 1}, {"loud": False}, {"loud": True}, {"steps": 3, "count": 4}
    ]  # fmt: skip


def test_each_two_values_of_two_options_meet():
    class Part(ELBO):
        def __init__(
            self, *, steps: NonNegativeInt = 2, how: Literal["a", "b", "c"] = "a", loud: bool = True
        ) -> None:
            super().__init__()

    found = combinations(Part, {})
    assert {s["steps"] for s in found if set(s) == {"steps"}} == {0, 1, 3, 4, 8, 16, 32}
    values = {"steps": (2, 3), "how": ("a", "b", "c"), "loud": (True, False)}
    for a, b in itertools.combinations(values, 2):
        pairs = {(s[a], s[b]) for s in found if len(s) == 3}
        assert pairs == set(itertools.product(values[a], values[b]))
    assert all(s["how"] == "b" for s in combinations(Part, {"how": "b"}))
