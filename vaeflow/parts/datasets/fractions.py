"""Splits of examples that come without splits, and paths below a data root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vaeflow.data.places import Place, moved
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored, Values
from vaeflow.data.telling import log
from vaeflow.errors import ConfigError, DataError

Labels: TypeAlias = Mapping[str, np.ndarray]
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

    def split(
        self,
        x: Values,
        path: Path,
        place: Place,
        labels: Labels | None = None,
        rows: Sequence[int] | np.ndarray | None = None,
    ) -> Splits:
        """Shuffle the examples with a fixed seed and split them; each split gets one at least.

        Examples in a file stay where they are: their order says where each is.

        Arguments:
            x: the examples (N, *data_shape).
            path: where they come from.
            place: how messages call a value of x.
            labels: name -> values (N,), which go where their examples go.
            rows: what each example is called in the source; by default its number, from 0 on.

        Raises:
            DataError: naming `path`, if too few are left for training.
        """
        orders = self.orders(len(x), path)
        called = np.arange(len(x)) if rows is None else np.asarray(rows)
        return Splits(
            *(_shuffled(x, torch.from_numpy(order)) for order in orders.values()),
            places={name: moved(place, order) for name, order in orders.items()},
            labels=_labels(labels or {}, orders),
            rows={name: called[order] for name, order in orders.items()},
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
        return dict(zip(NAMES, parts, strict=True))

    def held_out(self, count: int, origin: object) -> dict[str, np.ndarray]:
        """Return the indices of the training and the validation data within training data.

        Raises:
            DataError: naming `origin`, if none are left for training.
        """
        n = max(1, round(self.validation * count))
        if n >= count:
            raise DataError(
                f"{origin} holds {count} training example{'s' * (count > 1)} and no validation "
                "data: give validation data, or more to train on"
            )
        log.warning(
            "%s holds no validation data: %d of its %d training examples are taken for it, as many "
            "as --dataset.validation says", origin, n, count,
        )  # fmt: skip
        order = np.random.RandomState(0).permutation(count)
        return dict(zip(NAMES, np.split(order, [count - n]), strict=False))

    def hold_out(self, whole: Splits, path: Path) -> Splits:
        """Take the validation data off the training data, at random with a fixed seed, and say so.

        Raises:
            DataError: naming `path`, if none are left for training.
        """
        x = whole.kept("train")
        orders = self.held_out(len(x), path)
        place, labels = whole.place("train"), whole.labels
        called = whole.rows.get("train", np.arange(len(x)))
        return whole.but(
            **{name: _shuffled(x, torch.from_numpy(part)) for name, part in orders.items()},
            places={**whole.places, **{name: moved(place, part) for name, part in orders.items()}},
            labels={**labels, **_labels(labels.get("train", {}), orders)},
            rows={**whole.rows, **{name: called[part] for name, part in orders.items()}},
        )


def _labels(labels: Labels, orders: Mapping[str, np.ndarray]) -> dict[str, Labels]:
    """Return the labels of each split, of which the examples are given."""
    return {
        split: {name: values[order] for name, values in labels.items()}
        for split, order in orders.items()
        if labels
    }


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
