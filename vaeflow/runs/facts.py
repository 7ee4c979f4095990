"""What the values of a data set are: their range, their levels, their gaps, and duplicates.

Everything is counted over all values, chunk by chunk.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import chunks

_MANY = 1 << 17  # different values that are kept at most
_ALL = 1 << 26  # training values from where on some chunks of them, evenly spaced, tell the moments
_HASHED = 16  # bytes


@dataclass(frozen=True)
class Facts:
    """What is known of all values of a data set.

    Of large data, the levels and the moments are those of some chunks, evenly spaced.

    Attributes:
        low, high: the smallest and the largest value that is not missing.
        mean, deviation: of the training values.
        peaked: the kurtosis of the training values, 3 for a Gaussian.
        dispersion: the variance over the mean, averaged over the values of an example.
        whole: whether all are whole numbers.
        levels: the number of grey levels L if all are k/(L − 1), from 2 to 65536, else None.
        different: how many different values there are, at most 2¹⁷.
        missing: how many are missing.
        constant: how many values of an example are the same in all training examples.
        repeated: how many training examples are copies of others.
        shared: "test in train" -> how many examples of one split are in another.
    """

    low: float
    high: float
    mean: float
    deviation: float
    peaked: float
    dispersion: float
    whole: bool
    levels: int | None
    different: int
    missing: int
    constant: int
    repeated: int
    shared: dict[str, int]


def facts_of(splits: Splits) -> Facts:
    """Count what there is to know of the values of all splits."""
    known, train = torch.zeros(0), _Moments()
    step = splits.kept("train").shape.numel() // _ALL + 1
    low, high, whole, missing = math.inf, -math.inf, True, 0
    for name in NAMES:
        for i, (_, part) in enumerate(chunks(splits.kept(name))):
            values = part[~part.isnan()]
            missing += part.numel() - values.numel()
            if values.numel():
                low, high = min(low, values.min().item()), max(high, values.max().item())
                whole = whole and bool((values == values.round()).all())
                known = _united(known, values) if i % step == 0 else known
            if name == "train":
                train.see(part.flatten(1))
                if i % step == 0:
                    train.add(part.flatten(1).double())
    return Facts(
        low=low,
        high=high,
        **train.told(),
        whole=whole,
        levels=_levels(known) if low >= 0 and high <= 1 else None,
        different=len(known),
        missing=missing,
        **_copies(splits),
    )


def _united(known: Tensor, values: Tensor) -> Tensor:
    """Return the different values that are known, once some more are seen."""
    return known if len(known) >= _MANY else torch.cat([known, values.unique()]).unique()[:_MANY]


def _levels(known: Tensor) -> int | None:
    if len(known) >= _MANY:
        return None
    if len(known) < 2:
        return 2 if known.item() in (0, 1) else None
    known = known.double()
    n = round(1 / known.diff().min().item())
    # Those of pictures first, also where few of them occur.
    for top in (*range(1, 17), 255, 1023, 4095, 65535, n):
        k = known * top
        if top <= 65535 and bool(((k - k.round()).abs() <= 2e-7 * top).all()):
            return int(top) + 1
    return None


class _Moments:
    """Sums of powers of training values (N, D) that come part by part, about the first mean."""

    def __init__(self) -> None:
        self.powers = torch.zeros(5, dtype=torch.float64)
        self.shift = 0.0
        self.sums: list[Tensor] = []  # of each of the D values: how many, Σx, Σx²
        self.ends: list[Tensor] = []  # the least and the largest

    def add(self, x: Tensor) -> None:
        """Add to the sums."""
        values = x[~x.isnan()]
        if not self.powers[0] and len(values):
            self.shift = values.mean().item()
        self.powers += torch.stack([(values - self.shift).pow(k).sum() for k in range(5)])
        each = [(~x.isnan()).sum(0).double(), x.nansum(0), x.square().nansum(0)]
        old = self.sums or [torch.zeros_like(total) for total in each]
        self.sums = [a + b for a, b in zip(old, each, strict=True)]

    def see(self, x: Tensor) -> None:
        """Widen the ends."""
        least, largest = x.nan_to_num(math.inf).amin(0), x.nan_to_num(-math.inf).amax(0)
        if self.ends:
            least, largest = (
                torch.minimum(self.ends[0], least),
                torch.maximum(self.ends[1], largest),
            )
        self.ends = [least, largest]

    def told(self) -> dict[str, Any]:
        """Return the facts of the training values."""
        count, *sums = self.powers.tolist()
        m1, m2, m3, m4 = (total / max(count, 1) for total in sums)
        variance = max(m2 - m1**2, 0.0)
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        n, total, squares = self.sums
        least, largest = self.ends
        mean = total / n
        ratio = ((squares / n - mean.square()) / mean)[mean > 0]
        return {
            "mean": self.shift + m1,
            "deviation": variance**0.5,
            "peaked": fourth / variance**2 if variance else 3.0,
            "dispersion": ratio.mean().item() if len(ratio) else 1.0,
            "constant": int((least >= largest).sum()),
        }


def _copies(splits: Splits) -> dict[str, Any]:
    """Count equal examples, by a hash of their bits."""
    hashes = {name: Counter(_hashes(splits, name)) for name in NAMES}
    shared = {}
    for i, one in enumerate(NAMES):
        for other in NAMES[:i]:
            if found := sum(n for h, n in hashes[one].items() if h in hashes[other]):
                shared[f"{one} in {other}"] = found
    train = hashes["train"]
    return {"repeated": train.total() - len(train), "shared": shared}


def _hashes(splits: Splits, name: str) -> Iterator[bytes]:
    for _, part in chunks(splits.kept(name)):
        rows = (part + 0.0).flatten(1).contiguous().numpy()  # −0 is 0
        for row in rows:
            yield hashlib.blake2b(row.data, digest_size=_HASHED).digest()
