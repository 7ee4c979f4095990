"""Pairs of runs of one seed, and what becomes of runs without a partner."""

import pytest
import torch

from vaeflow.comparison.pairing import Pairing


@pytest.mark.parametrize(
    ("one", "other", "told", "brief"),
    [
        ("01234", "01234", "paired by seed (5 shared seeds)", "5 paired"),
        ("01234", "43210", "paired by seed (5 shared seeds)", "5 paired"),
        (
            "01234",
            "012",
            "paired by seed (3 shared seeds, 2 runs without a partner left out)",
            "3 paired, 2 left out",
        ),
        (
            "12",
            "123",
            "paired by seed (2 shared seeds, 1 run without a partner left out)",
            "2 paired, 1 left out",
        ),
        (
            "0123",
            "2345",
            "not paired by seed (4 runs against 4, only 2 shared seeds)",
            "4 against 4",
        ),
        ("01", "12", "not paired by seed (2 runs against 2, only 1 shared seed)", "2 against 2"),
        ("01", "23456", "not paired by seed (2 runs against 5, no shared seed)", "2 against 5"),
        ("0", "0", "of a single run each", "1 against 1"),
        ("0", "012", "of 1 run against 3", "1 against 3"),
        ("012", "0", "of 3 runs against 1", "3 against 1"),
    ],
)
def test_most_of_the_smaller_group_must_have_a_partner(one, other, told, brief):
    found = Pairing(tuple(map(int, one)), tuple(map(int, other)))
    assert str(found) == told
    assert found.brief == brief
    assert found.paired == ("paired by seed" in told and "not" not in told)


def test_pairs_are_taken_by_seed_and_not_by_place():
    one, other = torch.arange(6.0).reshape(3, 2), 10 * torch.arange(8.0).reshape(4, 2)
    pairing = Pairing((4, 7, 9), (9, 1, 4, 3))
    (found,) = pairing.samples(one, other)
    assert torch.equal(found, torch.stack([one[0] - other[2], one[2] - other[0]]))
    assert pairing.left_out == {7, 1, 3}


def test_groups_that_are_not_paired_keep_all_runs():
    one, other = torch.arange(6.0).reshape(3, 2), torch.arange(8.0).reshape(4, 2)
    pairing = Pairing((1, 2, 3), (4, 5, 6, 7))
    first, second = pairing.samples(one, other)
    assert torch.equal(first, one)
    assert torch.equal(second, -other)
    assert pairing.left_out == set()
