"""scikit-learn's digits: the same splits in every run."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from vaeflow.parts.datasets.digits import Digits


def test_every_digit_is_in_one_split_and_scaled_to_grey():
    splits = Digits().load()
    assert [len(x) for _, x in splits] == [1297, 200, 300]
    assert splits.data_shape == (1, 8, 8)
    together = torch.cat([x for _, x in splits])
    assert together.dtype == torch.float32
    assert (together.min(), together.max()) == (0, 1)

    def rows(x):
        return sorted(map(bytes, np.asarray(x, np.uint8).reshape(-1, 64)))

    assert rows(together * 16) == rows(load_digits().images)


def test_the_splits_never_change():
    # Figures of the README and of every older run are about these splits.
    assert Digits().load().fingerprint().startswith("93ce6ff60f2ff066")


def test_each_digit_goes_with_its_image():
    splits, true = Digits().load(), load_digits()
    number = {bytes(i.astype(np.uint8)): t for i, t in zip(true.images, true.target, strict=True)}
    for name, x in splits:
        known = [number[bytes(np.asarray(image * 16, np.uint8))] for image in x]
        assert splits.labels[name]["digit"].tolist() == known
