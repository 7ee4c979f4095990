"""Training, validation and test data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from torch import Tensor

from vaeflow.data.columns import Columns
from vaeflow.data.examples import Examples
from vaeflow.data.places import Place, by_index
from vaeflow.data.stored import Stored, Values, chunks, ends, floats
from vaeflow.data.weights import checked_weights

_LARGE = 16 << 30  # bytes of floats
NAMES = ("train", "validation", "test")


class _Floats:
    """A split that is given as it is kept, and is read as one tensor of floats."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    @overload
    def __get__(self, splits: None, owner: type) -> _Floats: ...

    @overload
    def __get__(self, splits: Splits, owner: type) -> Tensor: ...

    def __get__(self, splits: Splits | None, owner: type) -> _Floats | Tensor:
        if splits is None:
            raise AttributeError("a split has no default")
        return floats(splits.__dict__[self.name])

    def __set__(self, splits: Splits, x: Values) -> None:
        splits.__dict__[self.name] = x


@dataclass(frozen=True)
class Form:
    """What a model must know of data before it sees any.

    Attributes:
        shape: of an example.
        columns: of a table.
        covariates: on which the model is conditioned.
    """

    shape: tuple[int, ...]
    columns: Columns = field(default_factory=Columns)
    covariates: Columns = field(default_factory=Columns)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Form:
        """Return the form that `facts` keeps; older facts tell the shape alone."""
        columns, covariates = (facts.get(name, []) for name in ("columns", "covariates"))
        shape = tuple(facts["data_shape"])
        return cls(shape, Columns.from_list(columns), Columns.from_list(covariates))

    @property
    def facts(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "data_shape": self.shape,
            "columns": self.columns.as_list(),
            "covariates": self.covariates.as_list(),
        }


@dataclass(frozen=True, repr=False)
class Splits:
    """Training, validation and test data, each float32 (N, *data_shape).

    A split may be given as `Stored`, which keeps images in 8 bits and large data in its file.
    `train`, `validation` and `test` read it as one tensor; `examples` gives it as it is kept. What
    is not known of the data is empty.

    Attributes:
        places: "train", "validation" or "test" -> how messages call a value of the split; by
            default by its index.
        columns: of a table, how their values became the numbers of x.
        labels: split -> name -> values (N,) that are no part of x: numbers with NaN, or texts with
            None, where one is missing. `--condition` chooses covariates among labels and columns.
        weights: split -> the weight of each example (N,), at least 0.
        rows: split -> what each example is called in its source (N,): the number of its row, or the
            name of its file.
        gaps: whether NaN stands for a missing value; otherwise it is refused.
        covariates: values beside x on which the model is conditioned, where `condition_on` chose
            some.
        condition: split -> the covariates (N, C) as numbers.
    """

    train: _Floats = _Floats()
    validation: _Floats = _Floats()
    test: _Floats = _Floats()
    places: Mapping[str, Place] = field(default_factory=dict, kw_only=True)
    columns: Columns = field(default_factory=Columns, kw_only=True)
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict, kw_only=True)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, kw_only=True)
    rows: Mapping[str, np.ndarray] = field(default_factory=dict, kw_only=True)
    gaps: bool = field(default=False, kw_only=True)
    covariates: Columns = field(default_factory=Columns, kw_only=True)
    condition: Mapping[str, Tensor] = field(default_factory=dict, kw_only=True)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.kept("train").shape[1:])

    def kept(self, split: str) -> Values:
        """Return the values of a split as they were given."""
        x: Values = self.__dict__[f"_{split}"]
        return x

    def examples(self, split: str) -> Examples:
        """Return a split, its values as they were given, with its covariates and weights."""
        x, name = self.kept(split), f"the {split} weight"
        weight = checked_weights(name, self.weights.get(split), len(x))
        return Examples(x, self.condition.get(split), weight)

    def sizes(self) -> dict[str, int]:
        """Return the number of examples of each split."""
        return {name: len(self.kept(name)) for name in NAMES}

    def but(self, **changes: Any) -> Splits:
        """Return the splits with other fields."""
        return replace(self, **{**{name: self.kept(name) for name in NAMES}, **changes})

    @property
    def form(self) -> Form:
        """Return what a model must know of the data."""
        return Form(self.data_shape, self.columns, self.covariates)

    def place(self, split: str) -> Place:
        """Return how messages call a value of a split."""
        return self.places.get(split) or by_index("training" if split == "train" else split)

    def __repr__(self) -> str:
        sizes = self.sizes()
        held_out = f"validation ({sizes['validation']}, …), test ({sizes['test']}, …)"
        filled = [x for name in NAMES if (x := self.kept(name)).shape.numel()]
        each = [ends(x) for x in filled if isinstance(x, Tensor) or x.resident]
        within = ""
        if each:
            low, high = min(low for low, _ in each), max(high for _, high in each)
            within = f", values in [{low:g}, {high:g}]"
        return f"Splits(train {tuple(self.kept('train').shape)}, {held_out}{within})"

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        yield from (("train", self.train), ("validation", self.validation), ("test", self.test))

    def fingerprint(self) -> str:
        """Return the SHA-256 of all values and shapes, to recognize the data on resume.

        It is of the floats, wherever they lie; of a file of more than 16 GiB of them, it is of the
        order of the examples and of what the file holds, which takes a fraction of the time.
        """
        digest = hashlib.sha256()
        for name in NAMES:
            x = self.kept(name)
            digest.update(f"{name}{tuple(x.shape)}".encode())
            parts: Iterator[Tensor] = (part for _, part in chunks(x))
            if isinstance(x, Stored) and not x.resident and 4 * x.shape.numel() > _LARGE:
                digest.update(f"{x.divisor}{x.kept_dtype}".encode())
                x, order = x.in_order()
                digest.update(b"" if order is None else order.numpy().data)
                parts = x.kept_parts()
            for part in parts:
                digest.update(part.contiguous().numpy().data)
        for beside in (self.condition, self.weights):
            for name in sorted(beside):
                values = np.ascontiguousarray(beside[name], np.float32)
                digest.update(f"{name}{values.shape}".encode())
                digest.update(values.data)
        return digest.hexdigest()
