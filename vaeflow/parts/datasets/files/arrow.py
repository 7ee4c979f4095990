"""Tables of pyarrow as tables of vaeflow: Parquet and Arrow files, and data frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.data.table import Table
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import reason

_INDEX = "__index_level_"  # the index of pandas, where it has no name
_EXACT = 2**53  # from where on float64 leaves out whole numbers


def open_arrow(path: Path, content: bytes, limit: int) -> Any:
    """Return the pyarrow table of a Parquet or an Arrow file, or None if it is neither.

    Raises:
        DataError: if it is damaged, or takes more than `limit` bytes.
    """
    if content[:4] == b"PAR1":
        kind, read = "Parquet", _parquet
    elif content[:6] == b"ARROW1" or content[:4] in (b"FEA1", b"\xff\xff\xff\xff"):
        kind, read = "Arrow", _arrow
    else:
        return None
    try:
        return read(path, content, limit)
    except DataError:
        raise
    except Exception as error:  # pyarrow's own, and OSError
        raise DataError(
            f"{path} is not a readable {kind} file ({reason(error)}): write it again"
        ) from None


def _parquet(path: Path, content: bytes, limit: int) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    source = pa.BufferReader(content)
    with parquet.ParquetFile(source) as file:
        schema = file.schema_arrow
        _check_size(path, file.metadata.num_rows, len(schema.names), limit)
        texts = [f.name for f in schema if pa.types.is_string(f.type)]
    # As a dictionary, a text that is repeated takes its room once.
    with parquet.ParquetFile(pa.BufferReader(content), read_dictionary=texts) as file:
        return file.read()


def _arrow(path: Path, content: bytes, limit: int) -> Any:
    import pyarrow as pa
    from pyarrow import feather

    source = pa.BufferReader(content)
    if content[:4] == b"\xff\xff\xff\xff":  # a stream, as Hugging Face's `datasets` writes
        table = pa.ipc.open_stream(source).read_all()
    else:
        table = feather.read_table(source)
    _check_size(path, table.num_rows, table.num_columns, limit)
    return table


def _check_size(path: Path, rows: int, columns: int, limit: int) -> None:
    if (size := 8 * rows * columns) > limit:
        raise DataError(
            f"{path} unpacks to {size:,} bytes, but at most {limit:,} are read: store fewer rows "
            "or columns"
        )


def from_frame(frame: Any, name: str) -> Any:
    """Return a data frame as a pyarrow table.

    Raises:
        DataError: if it is none.
    """
    import pyarrow as pa

    if isinstance(frame, pa.Table):
        return frame
    check_names(frame, name)
    try:
        if isinstance(frame, Mapping):
            return pa.table({column: np.asarray(each).tolist() for column, each in frame.items()})
        if hasattr(frame, "__arrow_c_stream__"):  # pandas from 2.2 on, polars
            table = pa.table(frame)
        else:
            table = pa.Table.from_pandas(frame)
        kept = [i for i, n in enumerate(table.column_names) if not n.startswith(_INDEX)]
        return table.select(kept)
    except Exception as error:
        raise DataError(
            f"{name} is a {type(frame).__name__} that pyarrow does not take as a table "
            f"({reason(error)}): give a data frame of pandas, polars or pyarrow"
        ) from None


def check_names(frame: Any, name: str) -> None:
    """Refuse a data frame of which two columns have one name.

    Raises:
        DataError: naming it.
    """
    if isinstance(frame, Mapping):
        return
    names = [*getattr(frame, "column_names", getattr(frame, "columns", ()))]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has two columns {twice!r}: rename or drop one of them")


def from_arrow(origin: str, table: Any, *, numbered: bool = False, first: int = 1) -> Table:
    """Return the columns of a pyarrow table that hold numbers, booleans and texts.

    Arguments:
        origin: what messages call the table.
        table: of pyarrow.
        numbered: number the columns where two have one name, instead of a refusal.
        first: the number of the first row.

    Raises:
        DataError: if there is no value, or two columns have one name.
    """
    import pyarrow as pa

    names = [name or f"Unnamed: {i}" for i, name in enumerate(table.column_names)]
    if not table.num_rows or not names:
        raise DataError(f"{origin} holds no row of numbers: write one for each example")
    if twice := len(set(names)) < len(names):
        if not numbered:
            name = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{origin} has two columns {name!r}: give each a name of its own")
        names = [str(i) for i in range(1, len(names) + 1)]
    values, types, gaps, exact, integers = {}, {}, {}, {}, []
    for name, column in zip(names, table.columns, strict=True):
        types[name], found = _column(column)
        if found is None:
            continue
        values[name] = found
        if missing := _gaps(column, found):
            gaps[name] = missing
        if (whole := _exact(column)) is not None:
            exact[name] = whole
        if pa.types.is_integer(column.type) and not column.null_count:
            integers.append(name)
    return Table(
        origin,
        values,
        range(first, first + table.num_rows),
        types,
        gaps,
        exact,
        not twice,
        integers,
    )


def _column(column: Any) -> tuple[str, np.ndarray | None]:
    """Return the type of a column and its values, None if they are neither numbers nor texts."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column, kind = _storage(column), kind.storage_type
    types = pa.types
    if types.is_dictionary(kind) and not _is_text(kind.value_type):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_boolean(kind):
        return "boolean", _objects(column.cast(pa.string()))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind):
        return "number", np.asarray(column.cast(pa.float64(), safe=False).to_numpy())
    if types.is_decimal(kind):
        return "number", np.asarray(column.cast(pa.float64(), safe=False).to_numpy())
    if _is_text(kind) or types.is_dictionary(kind):
        return "text", _objects(column)
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind):
        return "text", _objects(column.cast(pa.string()))
    return str(kind), None


def _storage(column: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _objects(column: Any) -> np.ndarray:
    """Return texts with None; equal ones are one object."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    encoded = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(encoded, pa.ChunkedArray):  # its chunks have other dictionaries
        encoded = column.unify_dictionaries().combine_chunks()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    texts: np.ndarray = np.array([*encoded.dictionary.to_pylist(), None], object)
    found: np.ndarray = texts[codes]
    return found


def _gaps(column: Any, values: np.ndarray) -> dict[str, int]:
    empty = int(column.null_count)
    nan = 0 if values.dtype == object else int(np.isnan(values).sum()) - empty
    return {k: n for k, n in (("", empty), ("nan", nan)) if n}


def _exact(column: Any) -> np.ndarray | None:
    """Return whole numbers as they are, if float64 rounds one of them."""
    from pyarrow import types

    if not types.is_integer(column.type) or column.null_count:
        return None
    whole = np.asarray(column.to_numpy())
    return whole if max(int(whole.max()), -int(whole.min())) >= _EXACT else None
