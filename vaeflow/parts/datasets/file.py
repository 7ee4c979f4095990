"""Arrays and tables from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from vaeflow.data.cache import default_folder
from vaeflow.data.kinds import is_index
from vaeflow.data.layout import Layout, channels_first, guessed, layout_of, place_before
from vaeflow.data.mapped import in_file
from vaeflow.data.places import Place, in_array, in_table
from vaeflow.data.precision import warn_of_merged
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored, Values
from vaeflow.data.telling import log
from vaeflow.errors import DataError
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.arrays import read_arrays
from vaeflow.parts.datasets.files.large import large_parquet
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.parts.datasets.fractions import Fraction, Fractions, below
from vaeflow.parts.datasets.roles import WHOLE, Part, parts_of

_TABLES = {".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather"}
_LIMIT = 8 << 30  # bytes that a file may unpack to; a .npy file is not unpacked
_SMALL = 64 << 20  # bytes of a .npy file that is read at once
_SOME = 100_000


class File(Dataset):
    """The first axis of an array in a file, or a row of a table, is an example.

    Arrays are read from .npy and .npz, IDX (as MNIST's) and MATLAB files, tables from CSV, TSV,
    Parquet and Arrow. A file with a single array, or with labels beside it, is shuffled with a
    fixed seed and split by the fractions below. Arrays named x_train and x_test, or train and test,
    are split already, and x_val or validation may be among them; without it validation data is
    taken off the training data. Arrays y, labels or targets, y_train and y_test are labels, as any
    further array with one axis is by its name. Every column of a table is data, and a number; the
    data set `table` takes texts and gaps, too.

    Options:
        path: the file; below --data-root if a root is given.
        layout: the axis of the channels, the "first" after the examples or the "last", or "none";
            "auto" reads it off the shape, and says so where they are not first.
        scale: values are divided by it; without it, those of uint8 by 255, which brings grey levels
            into [0, 1]. 1 keeps values as they are.
        validation: fraction of the examples for validation.
        test: fraction of the examples for the test.
        cache: the folder of the file that a Parquet file which memory cannot hold is read into; by
            default in the user's cache.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        path: Path,
        layout: Literal["auto", "first", "last", "none"] = "auto",
        scale: PositiveFloat | None = None,
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
        cache: Path | None = None,
    ) -> None:
        super().__init__(root)
        self.path = below(root, path)
        self.cache = cache
        self.layout = layout
        self.scale = scale
        self.fractions = Fractions(validation, test)

    def load(self) -> Splits:
        return self._split(*self.read())

    def read(self) -> tuple[dict[str, Array], dict[str, Mapping[str, np.ndarray]]]:
        """Return the examples and the labels of each split, or of `WHOLE`, in the file's order."""
        if not self.path.is_file():
            raise DataError(f"{self.path} is no file: check --dataset.path and --data-root")
        if _is_table(self.path):
            return {WHOLE: self._table()}, {}
        parts = parts_of(self.path, read_arrays(self.path, limit=_LIMIT))
        first = parts.get("train") or parts[WHOLE]
        self._check(first.name, first.array)
        layout = self._layout(first)
        scale = self.scale or self._scale(first)
        arrays = {split: self._array(part, layout, scale) for split, part in parts.items()}
        return arrays, {split: part.labels for split, part in parts.items()}

    def _table(self) -> Array:
        scale = self.scale or 1.0
        if large := large_parquet(self.path, self.cache or default_folder()):
            mapped, columns = large
            rows = range(1, len(mapped) + 1)
            place = in_table(self.path, rows, columns)
            return Array(mapped, _over(place, scale), scale, rows=rows)
        table = read_table(self.path, numbered=True, limit=_LIMIT)
        values, names = table.numbers(), list(table.types)
        for name in filter(is_index, names):
            log.warning(
                "%s: column %r, an index without a name, is taken as data: --dataset table leaves "
                "it out", self.path, name,
            )  # fmt: skip
        self._check(self.path.stem, values)
        place = in_table(self.path, table.rows, names if table.named else ())
        exact = {names.index(name): x for name, x in table.exact.items()}
        return Array(values, _over(place, scale), scale, exact, table.rows)

    def _split(
        self, arrays: Mapping[str, Array], labels: Mapping[str, Mapping[str, np.ndarray]]
    ) -> Splits:
        each: dict[str, Values] = {}
        for split, array in arrays.items():
            values = array.values
            if in_file(values) and values.nbytes <= _SMALL:
                values = np.array(values)
            # Of a large file, some evenly spaced examples tell what all are like.
            some = values[:: len(values) // _SOME + 1] if in_file(values) else values
            warn_of_merged(some, array.place, np.dtype(np.float32), array.exact)
            each[split] = Stored(values, array.scale)
        if WHOLE in each:
            whole, beside = arrays[WHOLE], labels.get(WHOLE)
            return self.fractions.split(each[WHOLE], self.path, whole.place, beside, whole.rows)
        shape = tuple(each["train"].shape[1:])
        for split, x in each.items():
            if x.shape[1:] != shape:
                raise DataError(
                    f"{self.path}: {split} examples have shape {tuple(x.shape[1:])}, training ones "
                    f"{shape}: give all splits the same shape"
                )
        held_out = "validation" in each
        each.setdefault("validation", each["train"][:0])
        splits = Splits(
            *(each[name] for name in NAMES),
            places={split: array.place for split, array in arrays.items()},
            labels={split: named for split, named in labels.items() if named},
        )
        return splits if held_out else self.fractions.hold_out(splits, self.path)

    def _layout(self, part: Part) -> Layout:
        """Return where the channels of the examples are, and say what is guessed."""
        if self.layout != "auto":
            return self.layout
        name = self._shown(part)
        layout = layout_of(part.array.shape, name)
        if told := guessed(part.array.shape, layout, name):
            log.warning(told)
        return layout

    def _scale(self, part: Part) -> float:
        """Return by what values are divided that have no scale given, and say so."""
        if part.array.dtype != np.uint8:
            return 1.0
        starts = range(0, len(part.array), 1000)
        binary = all(part.array[i : i + 1000].max(initial=0) <= 1 for i in starts)
        log.warning(
            "%s of type uint8 holds %s; --dataset.scale %s",
            self._shown(part),
            "0 and 1 alone, which are kept" if binary else "grey levels, which are divided by 255",
            "255 takes them as grey levels" if binary else "1 keeps them as they are",
        )  # fmt: skip
        return 1.0 if binary else 255.0

    def _check(self, name: str, array: np.ndarray) -> None:
        if array.dtype.kind not in "buif":
            raise DataError(
                f"{self.path}: array {name!r} has type {array.dtype}, but numbers are needed: "
                "store it as float32 or uint8"
            )
        if array.ndim < 2 or array[:1].size == 0:
            raise DataError(
                f"{self.path}: array {name!r} has shape {array.shape}, but (examples, values…) "
                "with at least one of each is needed"
            )

    def _shown(self, part: Part) -> str:
        """Return how messages call the examples."""
        return f"{self.path}: {'array' if part.name == self.path.stem else part.name}"

    def _array(self, part: Part, layout: Layout, scale: float) -> Array:
        self._check(part.name, part.array)
        place = place_before(in_array(self._shown(part)), layout)
        return Array(channels_first(part.array, layout), _over(place, scale), scale)


@dataclass(frozen=True)
class Array:
    """Examples of a file, and how messages call their values."""

    values: np.ndarray
    place: Place
    scale: float = 1.0
    exact: Mapping[int, np.ndarray] = field(default_factory=dict)  # of columns that it rounds
    rows: Sequence[int] | np.ndarray | None = None  # of a table, their numbers in the file


def _over(place: Place, scale: float) -> Place:
    """Return how messages call a value that is divided; they tell the result."""
    if scale == 1:
        return place
    return lambda index: place(index) + (f", over {scale:g}," if len(index) > 1 else "")


def _is_table(path: Path) -> bool:
    with open(path, "rb") as f:
        magic = f.read(4)
    # A table may be gzipped.
    return bool(_TABLES & {suffix.lower() for suffix in path.suffixes[-2:]}) or magic == b"PAR1"
