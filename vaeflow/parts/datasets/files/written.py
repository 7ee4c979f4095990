"""Tables and arrays written to files: CSV, TSV, Parquet, Arrow and .npz, by the ending."""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from vaeflow.data.beside import apart
from vaeflow.errors import ConfigError
from vaeflow.storage import write_file

log = logging.getLogger("vaeflow")
TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
# A name in a zip file is a path, to which other programs may unpack it.
_PATH = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
_QUOTED = re.compile(f"{_PATH.pattern}|%")


def is_table(path: Path) -> bool:
    """Tell whether the ending of a name is a table's."""
    return path.name.lower().removesuffix(".gz").endswith(TABLES)


def write_table(path: Path, columns: Mapping[str, np.ndarray], *, like: Path | None = None) -> None:
    """Write columns as a table, in their order; `read_table` reads the same values back.

    A missing value, NaN or None, is an empty cell. A number has the digits that tell it from its
    neighbours.

    Arguments:
        path: a new file, .csv, .tsv, .parquet, .arrow or .feather; with .gz behind it, gzipped.
        columns: name -> values (N,): numbers, texts, or truth values.
        like: a Parquet or an Arrow file whose types columns of the same name take, such as dates
            that were read as texts, where the types hold all their values.

    Raises:
        ConfigError: if the file exists, or has another ending.
        StorageError: if the file system refuses.
    """
    if not is_table(path):
        raise ConfigError(
            f"{path} is no name of a table: give one that ends in {', '.join(TABLES)}"
        )
    if os.path.lexists(path):
        raise ConfigError(f"{path}: it exists, and nothing is overwritten; choose another")
    import pyarrow as pa

    types = {} if like is None else _types(like)
    table = pa.table({name: _column(values, types.get(name)) for name, values in columns.items()})
    content = _bytes(path.name.lower().removesuffix(".gz"), table)
    if path.suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    write_file(path, content)


def check_new(path: Path, *endings: str, named: str = "--out ") -> None:
    """Check that a file can be made.

    Arguments:
        path: of the file.
        endings: that its name may have; that of a table with .gz behind it as well.
        named: before the path in messages.

    Raises:
        ConfigError: if it exists, or has no directory or another ending.
    """
    zipped = tuple(f"{ending}.gz" for ending in endings if is_table(Path("x" + ending)))
    if not path.name.lower().endswith((*endings, *zipped)):
        *others, last = endings
        raise ConfigError(
            f"{named}{path}: the name must end in {', '.join(others)}{' or ' * bool(others)}{last}"
        )
    if os.path.lexists(path):
        raise ConfigError(f"{named}{path}: it exists, and nothing is overwritten; choose another")
    if not path.parent.is_dir():
        raise ConfigError(
            f"{named}{path}: the directory {path.parent} does not exist; make it first"
        )


def write_columns(
    path: Path, columns: Mapping[str, np.ndarray], *, like: Path | None = None
) -> None:
    """Write named arrays (N, …): to a table, or as arrays to .npz, where a missing text is "".

    In .npz a name that would be a path is spelled: ../x is ..%2Fx. A warning says so.

    Arguments:
        path: the new file.
        columns: name -> values.
        like: a file whose types the columns of a table take, as `write_table` says.

    Raises:
        StorageError: if the file cannot be written.
    """
    if path.suffix.lower() != ".npz":
        write_table(path, columns, like=like)
        return
    plain = {
        name: np.array(["" if v is None else str(v) for v in values]) if values.dtype == object
        else values
        for name, values in columns.items()
    }  # fmt: skip
    write_file(path, _zipped(plain))


def _zipped(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as the content of an .npz file, under any names.

    `numpy.savez` takes names as keywords, some of which are its own, and as paths in the file.
    """
    safe = {name: values for name, values in arrays.items() if not _PATH.search(name)}
    others = {_quoted(name): values for name, values in arrays.items() if name not in safe}
    if others:
        log.warning(
            "names in an .npz file have no slashes and no control characters: there are %s",
            ", ".join(others),
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, values in {**safe, **apart(others, safe)}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return out.getvalue()


def _quoted(name: str) -> str:
    """Return a name with "/" as %2F, "%" as %25 and so on, different for different names."""
    return _QUOTED.sub(lambda sign: quote(sign[0], safe=""), name)


def _column(values: np.ndarray, kind: Any = None) -> Any:
    import pyarrow as pa

    if values.dtype == object:
        column = pa.array(values.tolist())
    else:
        column = pa.array(values, mask=np.isnan(values) if values.dtype.kind == "f" else None)
    with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # it does not hold them
        return column if kind is None else column.cast(kind)
    return column


def _types(path: Path) -> dict[str, Any]:
    """Return the types of the columns of a Parquet or an Arrow file, none of another file."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    with suppress(OSError, pa.ArrowInvalid):
        schema = parquet.read_schema(path)
        return dict(zip(schema.names, schema.types, strict=True))
    with suppress(OSError, pa.ArrowInvalid):
        schema = feather.read_table(path, memory_map=True).schema
        return dict(zip(schema.names, schema.types, strict=True))
    return {}


def _bytes(name: str, table: Any) -> bytes:
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    sink = pa.BufferOutputStream()
    if name.endswith(".parquet"):
        parquet.write_table(table, sink)
    elif name.endswith((".arrow", ".feather")):
        feather.write_feather(table, sink, compression="uncompressed")
    else:
        separator = "\t" if name.endswith(".tsv") else ","
        if table.num_columns == 1 and table.column(0).null_count:  # an empty line would be no row
            table = table.set_column(
                0, table.column_names[0], table.column(0).cast(pa.string()).fill_null("NA")
            )
        csv.write_csv(table, sink, csv.WriteOptions(delimiter=separator, quoting_style="needed"))
    content: bytes = sink.getvalue().to_pybytes()
    return content
