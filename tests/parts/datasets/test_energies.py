"""The points of the test energies: the same in every run, and drawn from what they say."""

import pytest
import torch

from vaeflow.distributions.energies import NAMES, Energy
from vaeflow.parts.datasets.energies import Energies


@pytest.mark.parametrize("which", NAMES)
def test_the_splits_are_points_of_the_density(which):
    splits = Energies(which=which, size=2000).load()
    assert [len(x) for _, x in splits] == [2000, 400, 400]
    assert splits.data_shape == (2,)
    # E[log p] = −entropy, which another sample tells.
    p = Energy(which)
    other = p.log_prob(p.sample((20_000,), torch.Generator().manual_seed(3)))
    for _, x in splits:
        assert x.dtype == torch.float32
        score = p.log_prob(x)
        assert abs(score.mean() - other.mean()) < 5 * other.std() / len(x) ** 0.5


def test_no_point_is_in_two_splits():
    together = torch.cat([x for _, x in Energies(size=500).load()])
    assert len(together.unique(dim=0)) == len(together)


def test_the_points_never_change():
    assert Energies(size=100).load().fingerprint().startswith("1d335fd51fd2cc4f")
