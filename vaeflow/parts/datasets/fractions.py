"""Splits of examples that come without splits, and paths below a data root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vaeflow.data.places import Place, moved
from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored, Values
from vaeflow.errors import ConfigError, DataError

Fraction = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Fractions:
    """The shares of the validation and test data."""

    validation: float
    test: float

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ConfigError(
                f"--dataset.validation {self.validation:g} and --dataset.test {self.test:g} leave "
                "no training data: their sum must be below 1"
            )

    def split(self, x: Values, path: Path, place: Place) -> Splits:
        """Shuffle the examples with a fixed seed and split them; each split gets one at least.

        Examples in a file stay where they are: their order says where each is.

        Arguments:
            x: the examples (N, *data_shape).
            path: where they come from.
            place: how messages call a value of x.

        Raises:
            DataError: naming `path`, if too few are left for training.
        """
        orders = self.orders(len(x), path)
        return Splits(
            *(_shuffled(x, torch.from_numpy(order)) for order in orders.values()),
            places={name: moved(place, order) for name, order in orders.items()},
        )

    def orders(self, count: int, origin: object) -> dict[str, np.ndarray]:
        """Return the indices of the examples of each split, by its name.

        Arguments:
            count: of the examples.
            origin: where they come from.

        Raises:
            DataError: naming `origin`, if too few are left for training.
        """
        n_validation = max(1, round(self.validation * count))
        n_test = max(1, round(self.test * count))
        n_train = count - n_validation - n_test
        if n_train < 1:
            raise DataError(
                f"{origin} holds {count} examples, of which {n_validation} go to validation "
                f"and {n_test} to the test: at least one more is needed for training"
            )
        order = np.random.RandomState(0).permutation(count)
        parts = np.split(order, [n_train, n_train + n_validation])
        return dict(zip(("train", "validation", "test"), parts, strict=True))


def _shuffled(x: Values, order: Tensor) -> Values:
    if isinstance(x, Stored) and x.resident:
        return Stored(x.kept(order), x.divisor)
    return x[order]


def below(root: Path | None, path: Path) -> Path:
    """Return the path below --data-root, if a root is given.

    An absolute path keeps its last name alone, so that a run finds data that has moved.
    """
    path = Path(path)  # Python may give text
    return path if root is None else root / (path.name if path.is_absolute() else path)
