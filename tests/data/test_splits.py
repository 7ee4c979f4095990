"""The splits of a data set: how they print, and what they are recognized by."""

import pytest
import torch

from vaeflow.data.splits import Splits
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.datasets.energies import Energies


def test_digits_print_on_one_line():
    assert repr(Digits().load()) == (
        "Splits(train (1297, 1, 8, 8), validation (200, …), test (300, …), values in [0, 1])"
    )


def test_the_range_of_values_covers_all_splits():
    low, middle, high = torch.tensor([[-1.5]]), torch.tensor([[0.0]]), torch.tensor([[2.0]])
    for splits in ((low, middle, high), (high, low, middle), (middle, high, low)):
        assert repr(Splits(*splits)).endswith("values in [-1.5, 2])")


def test_empty_splits_print_without_a_range():
    nothing = torch.zeros(0, 3)
    told = "Splits(train (0, 3), validation (0, …), test (0, …))"
    assert repr(Splits(nothing, nothing, nothing)) == told


def test_a_dataset_prints_its_options():
    assert repr(Digits()) == "Digits()"
    assert repr(Energies(which="u2", size=50)) == "Energies(which='u2', size=50)"


@pytest.mark.parametrize("changed", range(3))
def test_any_changed_value_changes_the_fingerprint(changed):
    splits = [torch.zeros(2, 3) for _ in range(3)]
    before = Splits(*splits).fingerprint()
    splits[changed] = torch.ones(2, 3)
    assert Splits(*splits).fingerprint() != before
