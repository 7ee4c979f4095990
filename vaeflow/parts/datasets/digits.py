"""scikit-learn's bundled handwritten digits."""

from __future__ import annotations

import numpy as np

from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored
from vaeflow.parts.abstract import Dataset


class Digits(Dataset):
    """1,797 grey digits of 8×8 pixels that come with scikit-learn: no file, no download.

    Grey levels 0 … 16 become [0, 1]. The images, grouped by writer, are shuffled with a fixed seed
    and split into 1,297 / 200 / 300; the label is `digit`. (Alpaydin & Kaynak 1998.)
    """

    def load(self) -> Splits:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = digits.images.astype(np.uint8)
        # RandomState's streams are frozen across NumPy versions; default_rng's are not.
        order = np.random.RandomState(0).permutation(len(images))
        x = Stored(images[order][:, None], 16)
        numbers = np.split(digits.target[order].astype(np.float64), [1297, 1497])
        labels = {name: {"digit": part} for name, part in zip(NAMES, numbers, strict=True)}
        return Splits(x[:1297], x[1297:1497], x[1497:], labels=labels)
