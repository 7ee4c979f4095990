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
_HASHED = 16  # bytes


@dataclass(frozen=True)
class Facts:
    """What is known of all values of a data set.

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
    known, low, high, whole, missing = torch.zeros(0), math.inf, -math.inf, True, 0
    for part in _parts(splits, *NAMES):
        values = part[~part.isnan()]
        missing += part.numel() - values.numel()
        if values.numel():
            known = _united(known, values)
            low, high = min(low, values.min().item()), max(high, values.max().item())
            whole = whole and bool((values == values.round()).all())
    if missing and not len(known):
        known, low, high = torch.zeros(1), 0.0, 0.0
    center, deviation, peaked = _moments(splits)
    dispersion, constant = _by_position(splits)
    return Facts(
        low=low,
        high=high,
        mean=center,
        deviation=deviation,
        peaked=peaked,
        dispersion=dispersion,
        whole=whole,
        levels=_levels(known) if low >= 0 and high <= 1 else None,
        different=len(known),
        missing=missing,
        constant=constant,
        **_copies(splits),
    )


def _parts(splits: Splits, *names: str) -> Iterator[Tensor]:
    """Yield the values of splits, (B, D) at a time."""
    for name in names:
        yield from (part.flatten(1) for _, part in chunks(splits.kept(name)) if len(part))


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
    # The levels of 8 bits, also where few of them occur.
    for top in (*range(1, 17), 255, n):
        k = known * top
        if top <= 65535 and bool(((k - k.round()).abs() < max(1e-6, 1e-4 * (top <= 255))).all()):
            return int(top) + 1
    return None


def _moments(splits: Splits) -> tuple[float, float, float]:
    """Return mean, deviation and kurtosis of the training values."""
    count, total, second, fourth = 0, 0.0, 0.0, 0.0
    for part in _parts(splits, "train"):
        values = part[~part.isnan()].double()
        count, total = count + values.numel(), total + values.sum().item()
    center = total / max(1, count)
    for part in _parts(splits, "train"):
        squares = (part[~part.isnan()].double() - center).square()
        second, fourth = second + squares.sum().item(), fourth + squares.square().sum().item()
    second, fourth = second / max(1, count), fourth / max(1, count)
    return center, second**0.5, fourth / second**2 if second else 3.0


def _by_position(splits: Splits) -> tuple[float, int]:
    """Return the dispersion, averaged over the values of an example, and how many are constant."""
    size = splits.kept("train")[:1].shape.numel()
    count, total, squares = torch.zeros(3, size, dtype=torch.float64)
    low, high = torch.full((size,), torch.inf), torch.full((size,), -torch.inf)
    for part in _parts(splits, "train"):
        count += (~part.isnan()).sum(0)
        total += part.double().nansum(0)
        squares += part.double().square().nansum(0)
        low = torch.minimum(low, part.nan_to_num(torch.inf).amin(0))
        high = torch.maximum(high, part.nan_to_num(-torch.inf).amax(0))
    mean = total / count
    ratio = (squares / count - mean.square()) / mean
    dispersion = ratio[mean > 0].nanmean().item() if (mean > 0).any() else 1.0
    return dispersion, int((low >= high).sum())


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
