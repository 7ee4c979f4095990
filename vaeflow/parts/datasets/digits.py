"""scikit-learn's bundled handwritten digits."""

from __future__ import annotations

import numpy as np
import torch

from vaeflow.data.splits import Splits
from vaeflow.parts.abstract import Dataset


class Digits(Dataset):
    """1,797 grey digits of 8×8 pixels that come with scikit-learn: no file, no download.

    Grey levels 0 … 16 become [0, 1]. The images, grouped by writer, are shuffled with a fixed seed
    and split into 1,297 / 200 / 300. (Alpaydin & Kaynak 1998.)
    """

    def load(self) -> Splits:
        from sklearn.datasets import load_digits

        images = load_digits().images.astype(np.float32) / 16
        # RandomState's streams are frozen across NumPy versions; default_rng's are not.
        order = np.random.RandomState(0).permutation(len(images))
        x = torch.from_numpy(images[order]).unsqueeze(1)
        return Splits(*x.split([1297, 200, 300]))
