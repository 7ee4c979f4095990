"""Every check of a data set can fail: a right data set, and data sets with one mistake each."""

import pytest
import torch

from vaeflow.data.splits import Splits
from vaeflow.parts.abstract import Dataset
from vaeflow.testing import check, checks


class Noise(Dataset):
    seed = 0

    def load(self):
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.rand(10, 4, generator=generator)
        return Splits(x[:6], x[6:8], x[8:])


class Seeding(Noise):
    def load(self):
        torch.manual_seed(0)
        return super().load()


def loading(change):
    """A data set whose load() is `change(splits)`."""

    def load(self):
        return change(Noise.load(self))

    return type("Changed", (Noise,), {"load": load})


BUGS = [
    ("other values at each load", "loads_the_same_again",
     loading(lambda splits: Splits(*(x * torch.rand(()) for _, x in splits)))),
    ("float64", "loads_three_splits",
     loading(lambda splits: Splits(*(x.double() for _, x in splits)))),
    ("an empty split", "loads_three_splits",
     loading(lambda splits: Splits(splits.train, splits.validation, splits.test[:0]))),
    ("a seed for everyone", "leaves_the_generator_alone", Seeding),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part"), [row[1:] for row in BUGS], ids=[row[0] for row in BUGS])
def test_the_named_check_catches_the_bug(name, part):
    (one,) = (one for one in checks("dataset") if one.name == name)
    with pytest.raises(AssertionError):
        one(part)


def test_every_check_catches_a_bug():
    assert {name for _, name, _ in BUGS} == {one.name for one in checks("dataset")}


def test_the_right_part_passes():
    check("dataset", Noise)
