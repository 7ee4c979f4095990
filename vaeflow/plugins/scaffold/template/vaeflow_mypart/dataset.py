"""Bars and stripes: small binary images whose entropy is known.

Shapes: N images of n×n pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor
from vaeflow.parts import Dataset, Splits


class MyPart(Dataset):
    r"""Bars and stripes, binary images of n×n pixels (MacKay 2003, chapter 43).

    .. math:: x_{ij} = r_i \text{ or } x_{ij} = r_j, \text{ either with probability ½}, \quad
        r \sim \mathrm{Bernoulli}(½)^n

    There are 2^(n+1) − 2 images. No model of them has a mean log p(x) above the negative entropy,
    −((n + 1) − 2^(1−n)) log 2: −3.38 nats for n = 4. Nothing is read from files, so `root` is not
    used; the three splits are drawn with a fixed seed.

    Options:
        size: n, the pixels of a side.
        examples: images in each split.
    """

    def __init__(
        self, root: Path | None = None, *, size: PositiveInt = 4, examples: PositiveInt = 1000
    ) -> None:
        super().__init__(root)
        self.size = size
        self.examples = examples

    def load(self) -> Splits:
        """Return three splits of float32 (N, 1, n, n) with the values 0 and 1."""
        generator = torch.Generator().manual_seed(0)

        def coins(*shape: int) -> Tensor:
            return torch.randint(2, shape, generator=generator).float()

        def images() -> Tensor:
            stripes = coins(self.examples, 1, self.size, 1).expand(-1, -1, -1, self.size)
            upright = coins(self.examples, 1, 1, 1).bool()
            return torch.where(upright, stripes.mT, stripes)

        return Splits(images(), images(), images())
