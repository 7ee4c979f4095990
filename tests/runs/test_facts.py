"""What is counted of the values of a data set, chunk by chunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from vaeflow.data import stored
from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored
from vaeflow.runs.facts import facts_of


def splits(x, dtype=np.float32):
    return Splits(*(Stored(np.asarray(part, dtype)) for part in (x[:-4], x[-4:-2], x[-2:])))


@pytest.fixture(params=[1, 7, 1000], ids=lambda rows: f"{rows} rows a chunk")
def chunked(request, monkeypatch):
    monkeypatch.setattr(stored, "_chunk", lambda shape: request.param)


def test_moments_are_those_of_the_training_values(chunked):
    x = np.random.RandomState(0).gamma(2, 3, (60, 4)) + 1000
    x[3, 1] = np.nan
    facts, train = facts_of(splits(x)), x[:-4].astype(np.float32).astype(float)
    known = train[~np.isnan(train)]
    assert facts.mean == pytest.approx(known.mean())
    assert facts.deviation == pytest.approx(known.std())
    assert facts.peaked == pytest.approx(stats.kurtosis(known, fisher=False))
    assert facts.dispersion == pytest.approx((np.nanvar(train, 0) / np.nanmean(train, 0)).mean())
    assert (facts.low, facts.high) == (np.float32(np.nanmin(x)), np.float32(np.nanmax(x)))
    assert (facts.missing, facts.constant, facts.whole, facts.levels) == (1, 0, False, None)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 1], 2),
        ([0, 0.5, 1], 3),
        ([0.25, 0.75], 5),
        (np.arange(17) / 16, 17),
        (np.array([0, 3, 90, 254]) / 255, 256),
        (np.arange(1024) / 1023, 1024),
        (np.random.RandomState(0).rand(300), None),
        ([0, 2], None),
    ],
)
def test_levels_are_found(chunked, values, levels):
    x = np.resize(np.asarray(values, float), (max(12, len(values)), 1))
    assert facts_of(splits(x)).levels == levels


def test_constants_and_copies_are_counted(chunked):
    x = np.random.RandomState(0).rand(30, 3)
    x[:, 1] = 5
    x[7] = x[3]
    x[-1] = x[0]
    x[-4] = x[-2]
    facts = facts_of(splits(x))
    assert (facts.constant, facts.repeated) == (1, 1)
    assert facts.shared == {"test in train": 1, "test in validation": 1}


def test_zeros_of_either_sign_are_the_same():
    x = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [2.0, 3.0]])
    assert facts_of(Splits(x, x[:0], x[:0])).repeated == 1
