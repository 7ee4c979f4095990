"""Tables whose columns are of several kinds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from vaeflow.data.columns import ColumnKind, Columns
from vaeflow.data.kinds import column_of, standardized
from vaeflow.data.places import Index, Place, in_table, moved
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.table import Table as RawTable
from vaeflow.errors import ConfigError, DataError
from vaeflow.options import validate
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.chosen import Chosen, choose
from vaeflow.parts.datasets.files.delimited import SEPARATORS
from vaeflow.parts.datasets.files.tables import read_table, table_from
from vaeflow.parts.datasets.fractions import Fraction, Fractions, below
from vaeflow.parts.datasets.roles import SPLIT_WORDS

_OF_FILES = {"path", "separator", "header"}


class Table(Dataset):
    """Each row of a table is an example, and each column is read by its kind.

    A table is a .csv, .tsv, Parquet or Arrow file, gzipped or plain; in Python,
    `vaeflow.datasets.Table.of(frame)` takes a data frame. Numbers are standardized, whole counts
    stay as they are, true and false are 1 and 0, and each level of a category is a value of its
    own. Columns that carry nothing or cannot be read so are left out, and told: indices, constants,
    dates, and texts that are nearly all different. Empty cells, NA, NaN, null, None and ? are
    missing values. `--likelihood columns` scores each column by its kind.

    Options:
        path: the file; below --data-root if a root is given.
        columns: the columns to take, all others being left out; * in a name stands for any letters.
        drop: columns to leave out; * stands for any letters.
        kinds: kinds of columns, such as age=number,zip=category,n_*=count; the kinds are number,
            count, boolean and category, and by default the values tell.
        standardize: give numbers the mean 0 and the deviation 1 over the training data.
        weights: a column of weights of the examples, at least 0.
        split: a column that holds train, validation or test; without validation, that is taken off
            the training data. Without a column, the rows are shuffled with a fixed seed and split
            by the fractions below.
        separator: between the cells of a text file: comma, semicolon, tab, bar or space; auto
            finds it.
        header: whether the first row of a text file holds names; none finds out.
        missing: more spellings of a missing value, such as unknown,-999.
        validation: fraction of the rows for validation.
        test: fraction of the rows for the test.
    """

    example = "--likelihood columns"

    def __init__(
        self,
        root: Path | None = None,
        *,
        path: Path,
        columns: tuple[str, ...] = (),
        drop: tuple[str, ...] = (),
        kinds: dict[str, ColumnKind] | None = None,
        standardize: bool = True,
        weights: str | None = None,
        split: str | None = None,
        separator: str = "auto",
        header: bool | None = None,
        missing: tuple[str, ...] = (),
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
    ) -> None:
        super().__init__(root)
        self.path = below(root, path)
        self.columns, self.drop, self.kinds = columns, drop, _known(kinds or {})
        self.standardize = standardize
        self.weights, self.split = weights, split
        self.separator = _separator(separator)
        self.header, self.missing = header, missing
        self.fractions = Fractions(validation, test)

    @classmethod
    def of(cls, frame: object, **options: Any) -> Splits:
        """Return the splits of a data frame of pandas, polars or pyarrow.

        Arguments:
            frame: the data frame.
            options: as of a file, in Python's types or in text, as the command line has them:
                kinds={"age": "number"} or kinds="age=number".

        Raises:
            ConfigError: if an option is unknown, or of another type.
            DataError: if it is no data frame, or its columns cannot be read so.
        """
        for name in options.keys() & _OF_FILES:
            raise ConfigError(f"Table.of: {name} is an option of files: leave it out")
        dataset = cls(**validate(cls, {"path": "the data frame", **options}, "dataset"))
        return dataset.splits(table_from(frame, missing=dataset.missing))

    def load(self) -> Splits:
        if not self.path.is_file():
            raise DataError(f"{self.path} is no file: check --dataset.path and --data-root")
        return self.splits(self.read())

    def read(self) -> RawTable:
        """Return the table as it is read."""
        return read_table(
            self.path, separator=self.separator, header=self.header, missing=self.missing
        )

    def splits(self, table: RawTable) -> Splits:
        """Return the splits of a table that was read."""
        apart = {"--dataset.weights": self.weights, "--dataset.split": self.split}
        chosen = choose(table, self.columns, self.drop, self.kinds, apart)
        orders = self._orders(table)
        weights = _weights(table, self.weights)
        chosen.tell()
        columns = self._columns(table, chosen, orders["train"])
        x = torch.from_numpy(columns.encode(table))
        taken = {*columns.names}
        labels = {n: table.exact.get(n, table[n]) for n in table if n not in taken}
        return Splits(
            *(x[order] for order in orders.values()),
            places={k: moved(_place(table, columns), order) for k, order in orders.items()},
            columns=columns,
            labels={k: {n: v[order] for n, v in labels.items()} for k, order in orders.items()},
            weights={} if weights is None else {k: weights[order] for k, order in orders.items()},
            rows={k: np.asarray(table.rows)[order] for k, order in orders.items()},
            gaps=bool(x.isnan().any()),
        )

    def _columns(self, table: RawTable, chosen: Chosen, train: np.ndarray) -> Columns:
        columns = [column_of(table, name, kind) for name, kind in chosen.kinds.items()]
        if self.standardize:
            numbers = {c.name: table.as_numbers(c.name) for c in columns if c.kind == "number"}
            columns = standardized(columns, numbers, train)
        return Columns(tuple(columns))

    def _orders(self, table: RawTable) -> Mapping[str, np.ndarray]:
        """Return the indices of the rows of each split."""
        if self.split is None:
            return self.fractions.orders(table.size, table.origin)
        values = table.require(self.split, "--dataset.split")
        found: dict[str, list[int]] = {split: [] for split in NAMES}
        for row, value in enumerate(values):
            split = SPLIT_WORDS.get(str(value).lower())
            if split is None:
                raise DataError(
                    f"{table.place(row, self.split)} holds {value!r}, but train, validation or "
                    "test is expected of the column that --dataset.split names: write one of them"
                )
            found[split].append(row)
        rows = {split: np.array(indices, int) for split, indices in found.items()}
        for split in ("train", "test"):
            if not len(rows[split]):
                raise DataError(
                    f"{table.origin}: no row is of the split {split}, by {table.call(self.split)}: "
                    "mark some, or leave out --dataset.split for random splits"
                )
        if not len(rows["validation"]):
            train, parts = rows["train"], self.fractions.held_out(len(rows["train"]), table.origin)
            rows |= {split: train[np.sort(part)] for split, part in parts.items()}
        return rows


def _known(kinds: Mapping[str, ColumnKind]) -> Mapping[str, ColumnKind]:
    for name, kind in kinds.items():
        if kind not in get_args(ColumnKind):
            raise ConfigError(
                f"--dataset.kinds {name}={kind}: there is no such kind; give one of "
                f"{', '.join(get_args(ColumnKind))}"
            )
    return kinds


def _separator(given: str) -> str | None:
    if given in SEPARATORS.values():
        return given
    if given != "auto" and given not in SEPARATORS:
        raise ConfigError(
            f"--dataset.separator {given!r} is unknown: give {', '.join(SEPARATORS)} or auto"
        )
    return SEPARATORS.get(given)


def _weights(table: RawTable, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    table.require(name, "--dataset.weights")
    weights = table.as_numbers(name, "correct it, or drop the row")
    wrong = ~((weights >= 0) & np.isfinite(weights))
    if wrong.any():
        row = int(wrong.argmax())
        told = "is missing" if np.isnan(weights[row]) else f"is {weights[row]:g}"
        raise DataError(
            f"{table.place(row, name)} {told}, but a weight is a finite number from 0 on: correct "
            "it, or drop the row"
        )
    if not weights.any():
        raise DataError(f"{table.origin}: all weights in {table.call(name)} are 0: give some more")
    return weights


def _place(table: RawTable, columns: Columns) -> Place:
    """Return how messages call a value; where it is standardized, they tell the result."""
    place = in_table(Path(table.origin), table.rows, columns.labels())
    changed = [(c.center, c.spread) != (0, 1) for c in columns for _ in range(c.width)]

    def told(index: Index) -> str:
        standardized = any(changed[i] for i in index[1:] if i is not None)
        return place(index) + (", standardized," if standardized else "")

    return told
