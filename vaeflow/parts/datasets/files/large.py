"""Parquet files of numbers that memory cannot hold, read once into a file of the cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaeflow.data.cache import Cache
from vaeflow.data.memory import fits
from vaeflow.data.places import in_table
from vaeflow.data.precision import warn_of_merged
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import reason

log = logging.getLogger("vaeflow")

_IN_MEMORY = 1 << 30  # bytes of a table as float64 that is read anew for each run
_ROWS = 1 << 16  # that are read at a time


def large_parquet(path: Path, folder: Path) -> tuple[np.ndarray, list[str]] | None:
    """Return the rows (N, D) of a large Parquet file, mapped from the cache, and their columns.

    Returns:
        None where it is no Parquet file, or one that memory can hold.

    Raises:
        DataError: if a column holds other than numbers, or a value is missing.
        StorageError: if the cache cannot be written.
    """
    with open(path, "rb") as f:
        if f.read(4) != b"PAR1":
            return None
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
            needed = 8 * rows * len(schema.names)
            if needed <= _IN_MEMORY and fits(needed, torch.device("cpu")):
                return None
            cache = Cache(folder, f"the rows of {path}", str(path.absolute()), (path,))
            made = cache.find()
            if made is None:
                _check(path, schema)
                shape = (rows, len(schema.names))
                made = cache.make(_parts(path, file), shape, np.dtype(np.float32))
    except DataError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own are of these
        raise DataError(
            f"{path} is not a readable Parquet file ({reason(error)}): write it again"
        ) from None
    return made, schema.names


def _check(path: Path, schema: Any) -> None:
    from pyarrow import types

    numeric = (types.is_integer, types.is_floating, types.is_boolean)
    for column in schema:
        if not any(is_kind(column.type) for is_kind in numeric):
            raise DataError(
                f"{path}: column {column.name!r} holds {column.type}, not numbers: convert it or "
                "drop it"
            )


def _parts(path: Path, file: Any) -> Iterator[np.ndarray]:
    import pyarrow as pa

    done = 0
    for batch in file.iter_batches(_ROWS):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                row = done + int(column.is_null().to_numpy(zero_copy_only=False).argmax()) + 1
                raise DataError(
                    f"{path}: row {row}, column {name!r} is empty: fill it in or drop the row"
                )
        columns = [
            column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            for column in batch.columns
        ]
        values = np.stack(columns, 1)
        if not done:  # the first rows tell what all are like
            place = in_table(path, range(1, len(values) + 1), batch.schema.names)
            warn_of_merged(values, place, np.dtype(np.float32))
        done += len(values)
        with np.errstate(all="ignore"):  # values that overflow are refused with their place later
            yield values.astype(np.float32)
