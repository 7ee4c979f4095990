"""Points of the plane, drawn from the test energies of normalizing flows."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import PositiveInt

from vaeflow.data.splits import Splits
from vaeflow.distributions.energies import Energy, Name
from vaeflow.parts.abstract import Dataset

_SEED = 1505_05770  # fixed, so that every run has the same points


class Energies(Dataset):
    """Points (2,) drawn from U1, U2, U3 or U4 of Rezende & Mohamed 2015, table 1: no file.

    Use `--likelihood gaussian`. Walls at |z_i| = 4 bound U2 to U4
    (`vaeflow.distributions.energies`).

    Options:
        which: the density: a ring with two modes, a wave, or a wave that splits in two ways.
        size: training points; validation and test have a fifth as many each.
    """

    example = "--likelihood gaussian"

    def __init__(
        self, root: Path | None = None, *, which: Name = "u1", size: PositiveInt = 10_000
    ) -> None:
        super().__init__(root)
        self.which = which
        self.size = size

    def load(self) -> Splits:
        held_out = -(-self.size // 5)
        generator = torch.Generator().manual_seed(_SEED)
        x = Energy(self.which).sample((self.size + 2 * held_out,), generator)
        return Splits(*x.split([self.size, held_out, held_out]))
