"""Arrays and tables from a file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import PositiveFloat

from vaeflow.data.places import Index, Place, in_array, in_table
from vaeflow.data.precision import warn_of_merged
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import Stored, in_file
from vaeflow.errors import DataError
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.parts.datasets.files.unpacking import reason
from vaeflow.parts.datasets.fractions import Fraction, Fractions, below

_TABLES = {".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather"}
_LIMIT = 8 << 30  # bytes that a file may unpack to; a .npy file is not unpacked
_SMALL = 64 << 20  # bytes of a .npy file that is read at once
_SOME = 100_000


class File(Dataset):
    """The first axis of an array in a .npy or .npz file, or a row of a table, is an example.

    An .npz file with arrays named train, validation and test is split already. An .npz file with a
    single array, and any other file, is shuffled with a fixed seed and split by the fractions
    below. A table is a .csv file, whose first line is a header if it holds no number, or a Parquet
    file, which needs pyarrow. Every column of a table is data.

    Options:
        path: the file; below --data-root if a root is given.
        scale: values are divided by it; 255 brings grey levels into [0, 1].
        validation: fraction of the examples for validation.
        test: fraction of the examples for the test.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        path: Path,
        scale: PositiveFloat = 1.0,
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
    ) -> None:
        super().__init__(root)
        self.path = below(root, path)
        self.scale = scale
        self.fractions = Fractions(validation, test)

    def load(self) -> Splits:
        arrays = _read(self.path)
        if len(arrays) == 1:
            ((name, array),) = arrays.items()
            return self.fractions.split(self._stored(name, array), self.path, self._place(array))
        if set(arrays) != {*NAMES}:
            names = f"the arrays {', '.join(sorted(arrays))}" if arrays else "no array"
            raise DataError(
                f"{self.path} holds {names}: store train, validation and test, or one array only"
            )
        splits = Splits(
            *(self._stored(name, arrays[name]) for name in NAMES),
            places={name: self._place(array) for name, array in arrays.items()},
        )
        for name in NAMES:
            if (shape := tuple(splits.kept(name).shape[1:])) != splits.data_shape:
                raise DataError(
                    f"{self.path}: {name} examples have shape {shape}, training ones "
                    f"{splits.data_shape}: give all splits the same shape"
                )
        return splits

    def _place(self, array: _Array) -> Place:
        """Return how messages call a value; where it is divided, they tell the result."""
        if self.scale == 1:
            return array.place

        def divided(index: Index) -> str:
            return f"{array.place(index)}, over {self.scale:g},"

        return divided

    def _stored(self, name: str, source: _Array) -> Stored:
        array = source.values
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
        if in_file(array) and array.nbytes <= _SMALL:
            array = np.array(array)
        # Of a large file, some evenly spaced examples tell what all are like.
        some = array[:: len(array) // _SOME + 1] if in_file(array) else array
        warn_of_merged(some, source.place, np.dtype(np.float32), source.exact)
        return Stored(array, self.scale)


@dataclass(frozen=True)
class _Array:
    """An array of a file, and how messages call its values."""

    values: np.ndarray
    place: Place
    exact: Mapping[int, np.ndarray] = field(default_factory=dict)  # of columns that it rounds


def _table(path: Path) -> dict[str, _Array]:
    table = read_table(path, numbered=True, limit=_LIMIT)
    names = list(table.types)
    place = in_table(path, table.rows, names if table.named else ())
    exact = {names.index(name): values for name, values in table.exact.items()}
    return {path.stem: _Array(table.numbers(), place, exact)}


def _read(path: Path) -> dict[str, _Array]:
    if not path.is_file():
        raise DataError(f"{path} is no file: check --dataset.path and --data-root")
    try:
        with open(path, "rb") as f:
            magic = f.read(6)
        # A table may be gzipped.
        if _TABLES & {suffix.lower() for suffix in path.suffixes[-2:]} or magic[:4] == b"PAR1":
            return _table(path)
        if magic == b"\x93NUMPY":
            # Mapped, so that a header that promises more than the file holds fails at once.
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return {path.stem: _Array(array, in_array(f"{path}: array"))}
        if magic[:4] not in (b"PK\3\4", b"PK\5\6"):  # an archive, and an empty one
            raise ValueError(f"it starts with {magic!r}" if magic else "it is empty")
        arrays = _read_npz(path)
        return {name: _Array(x, in_array(f"{path}: {name}")) for name, x in arrays.items()}
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on a damaged file
        raise DataError(
            f"{path} is not a readable .npy or .npz file of numbers ({reason(error)}): write it "
            "with numpy.save or numpy.savez"
        ) from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as z:
        size = sum(member.file_size for member in z.infolist())
    if size > _LIMIT:
        raise DataError(
            f"{path} unpacks to {size:,} bytes, but at most {_LIMIT:,} are read: store float32 or "
            "uint8, or fewer examples"
        )
    with np.load(path, allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in npz.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its member {name!r} is no array")
    return arrays
