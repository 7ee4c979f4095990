"""Tables in texts: cells separated by commas, semicolons, tabs, bars or, of numbers, spaces.

pyarrow parses the cells. Python's csv module reads the first rows, by which the separator and the
names are found, and counts the rows where a message tells one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.data.table import Table, is_number
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.cells import COMMA, Cells
from vaeflow.parts.datasets.files.header import has_names
from vaeflow.parts.datasets.files.others import is_array, other_format
from vaeflow.parts.datasets.files.unpacking import reason

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_OF_SUFFIX = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_START = 128  # bytes that tell what else a file may be
_LOOKED_AT = 50  # rows, where the first one has several kinds of separators
_BLOCK = 1 << 24  # bytes that pyarrow parses at a time; a row must fit


def read_text(
    path: Path,
    content: bytes,
    *,
    separator: str | None = None,
    header: bool | None = None,
    missing: Sequence[str] = (),
    numbered: bool = False,
) -> tuple[Table, list[str]]:
    """Read a table from a text, and tell in what ways it is not what its name promises.

    Arguments:
        path: of the file, for messages.
        content: the text.
        separator: between cells; None finds it.
        header: whether the first row holds names; None finds out.
        missing: spellings of a missing value, beside the usual ones.
        numbered: number the columns where two have one name, instead of a refusal.

    Raises:
        DataError: if it is no table, or can be read in more than one way.
    """
    if other := other_format(path, content[:_START]):
        raise DataError(f"{path} is {other[0]}, and no table of cells: {other[1]}")
    if is_array(content):
        raise DataError(
            f"{path} is a file of arrays, and no table of cells: give a .csv, .tsv, .parquet or "
            ".arrow file, or train on the arrays by --dataset file"
        )
    text, told = _without_comments(_decoded(path, content))
    try:
        found = separator or _separator(path, text)
        if separator is None and found != _OF_SUFFIX.get(_suffix(path)) and found in text:
            told.append(f"cells separated by {_WORDS[found]}")
        if found == " ":  # any number of them, and tabs
            text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        return _Text(path, text, found, missing).table(header, numbered, told), told
    except csv.Error as error:
        raise DataError(
            f"{path} is no table ({reason(error)}): correct it, or write it as CSV again"
        ) from None


class _Text:
    """A text whose separator is known."""

    def __init__(self, path: Path, text: str, separator: str, missing: Sequence[str]) -> None:
        self.path, self.text, self.separator, self.missing = path, text, separator, missing

    def table(self, header: bool | None, numbered: bool, told: list[str]) -> Table:
        number, cells = next(_rows(self.text, self.separator), (0, []))
        first = [cell.strip() for cell in cells]
        # The row that may hold names is read apart: it has no part in the type of a column.
        columns = self._columns(number, len(first)) if first else []
        if header is None and first:
            header = has_names(self.path, number, self._pointed(first), columns, told)
        if not header and first:
            number, columns = 0, self._columns(0, len(first))
        if not columns:
            raise DataError(f"{self.path} holds no row of numbers: write an example on each line")
        self._check_points(number, columns, told)
        # An empty name is written as pandas does.
        names = [n or f"Unnamed: {i}" for i, n in enumerate(first)] if header else []
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            if not numbered:
                raise DataError(
                    f"{self.path}: row {number} names two columns {twice!r}: give each a name of "
                    "its own"
                )
            names = []
        return self._made(self._row_numbers(number, len(columns[0])), names, columns)

    def _pointed(self, cells: list[str]) -> list[str]:
        """Return cells with points in place of decimal commas."""
        if self.separator == ",":
            return cells
        return [c.replace(",", ".") if re.match(COMMA, c) else c for c in cells]

    def _made(self, rows: Any, names: list[str], columns: list[Cells]) -> Table:
        numbers = [str(i) for i in range(1, len(columns) + 1)]
        each = dict(zip(names or numbers, columns, strict=True))
        texts = {name for name, cells in each.items() if cells.type == "text"}
        return Table(
            str(self.path),
            {name: c.texts if name in texts else c.numbers for name, c in each.items()},
            rows,
            {name: "text" if name in texts else "number" for name in each},
            {name: c.gaps for name, c in each.items() if c.gaps},
            {n: c.exact for n, c in each.items() if n not in texts and c.exact is not None},
            bool(names),
        )

    def _columns(self, after: int, width: int) -> list[Cells]:
        """Return the columns below the line `after`, none if nothing is there."""
        import pyarrow as pa
        from pyarrow import csv as parser

        body = self._below(after)
        if not body.strip("\n"):
            return []
        names = [str(i) for i in range(width)]
        text = pa.dictionary(pa.int32(), pa.string())
        try:
            table = parser.read_csv(
                pa.BufferReader(body.encode()),
                read_options=parser.ReadOptions(column_names=names, block_size=_BLOCK),
                parse_options=parser.ParseOptions(
                    delimiter=self.separator, newlines_in_values='"' in body
                ),
                convert_options=parser.ConvertOptions(
                    column_types=dict.fromkeys(names, text), null_values=[]
                ),
            )
        except pa.ArrowException as error:
            self._refuse_ragged(width)
            raise csv.Error(reason(error)) from None
        comma = self.separator != ","
        return [Cells(column, self.missing, comma=comma) for column in table.columns]

    def _below(self, line: int) -> str:
        start = 0
        for _ in range(line):
            start = self.text.find("\n", start) + 1 or len(self.text)
        return self.text[start:]

    def _row_numbers(self, header: int, count: int) -> Sequence[int] | np.ndarray:
        """Return the number of the line on which each example ends."""
        if self.text.rstrip("\n").count("\n") + 1 == header + count:
            return range(header + 1, header + count + 1)
        # Some lines are empty, or an example takes several.
        rows = _rows(self.text, self.separator)
        return np.fromiter((number for number, _ in rows if number > header), np.int64)

    def _refuse_ragged(self, width: int) -> None:
        rows = _rows(self.text, self.separator)
        first, _ = next(rows)
        for number, cells in rows:
            if len(cells) != width:
                raise DataError(
                    f"{self.path}: row {number} has {len(cells)} columns, but row {first} has "
                    f"{width}: give every row the same"
                )

    def _check_points(self, header: int, columns: list[Cells], told: list[str]) -> None:
        """Check that a table of decimal commas has no number with a point."""
        if not any(cells.type == "decimal comma" for cells in columns):
            return
        told.append("decimal commas")
        for i, cells in enumerate(columns, 1):
            if cells.type == "number" and (found := cells.pointed):
                raise DataError(
                    f"{self.path}: column {i} holds {found!r}, a number with a point beside others "
                    "with decimal commas: write all of them with one mark, without one between "
                    "thousands"
                )


def _decoded(path: Path, content: bytes) -> str:
    """Return the text, whose lines all end by "\\n"."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        raise DataError(
            f"{path} is not text in UTF-8 (byte {error.start}, in row {row}): convert it, as in "
            f"`iconv -f {'utf-16' if utf16 else 'latin1'} -t utf-8 {path.name} > new.csv`"
        ) from None
    return io.StringIO(text, newline=None).read() if "\r" in text else text


def _without_comments(text: str) -> tuple[str, list[str]]:
    """Return a text whose first lines are blank instead of comments, and what to tell of them.

    Of lines that begin with "#", one with as many cells as the row below may hold the names.
    """
    lines = text.split("\n", _LOOKED_AT)
    marked = [i for i, line in enumerate(lines) if line.startswith("#")]
    if marked != [*range(len(marked))] or not marked or len(marked) >= len(lines) - 1:
        return text, []
    last, below = lines[len(marked) - 1], lines[len(marked)]
    if len(last) > 1 and any(last.count(s) == below.count(s) > 0 for s in _WORDS):
        named = re.match(r"#\s+", last)  # as numpy.savetxt writes names
        lines[len(marked) - 1] = last[named.end() :] if named else last
        marked = marked[:-1]
    for i in marked:
        lines[i] = ""
    told = [f"the first {len(marked)} lines, which begin with #, as comments"] if marked else []
    return "\n".join(lines), told


def _suffix(path: Path) -> str:
    kept = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return kept[-1] if kept else ""


def _separator(path: Path, text: str) -> str:
    """Return the separator that the first rows show.

    Raises:
        DataError: if there are several ways to read them.
    """
    head = "\n".join(text.split("\n", _LOOKED_AT)[:_LOOKED_AT])
    first = next((line for line in head.split("\n") if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    found = [s for s in _WORDS if s != " " and s in bare]
    if len(found) > 1:
        found = [
            s for s in found if len({len(cells) for _, cells in _quiet(head, s)}) == 1
        ] or found
    if len(found) > 1:
        words = " or between ".join(_WORDS[s] for s in found)
        names = [name for name, s in SEPARATORS.items() if s in found]
        raise DataError(
            f"{path} may have cells between {words}: say which, by --dataset table with "
            f"--dataset.separator {names[0]} or {names[1]}"
        )
    if not found and _spaced(head.split("\n")):
        return " "
    return found[0] if found else _OF_SUFFIX.get(_suffix(path), ",")


def _spaced(lines: Sequence[str]) -> bool:
    """Tell whether rows are numbers between spaces, below names perhaps."""
    rows = [cells for line in lines if (cells := line.split())]
    numbers = all(is_number(cell) for cells in rows[1:] for cell in cells)
    return len(rows) > 1 and numbers and {len(cells) for cells in rows} == {max(2, len(rows[0]))}


def _quiet(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the rows of the beginning of a text, which may end within quotes."""
    try:
        return list(_rows(text, separator))
    except csv.Error:
        return []


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, and its cells.

    Raises:
        csv.Error: if a quote is not closed, which would swallow the lines below it.
    """
    lines = text.count("\n") + (not text.endswith("\n"))
    # The empty line added at the end is a row of its own, unless an open quote swallows it.
    source = chain(io.StringIO(text, newline=""), ["\n"])
    reader = csv.reader(source, delimiter=separator)
    start = 1
    try:
        for cells in reader:
            if cells and reader.line_num > lines:
                raise csv.Error
            if cells:
                yield reader.line_num, cells
            start = reader.line_num + 1
    except csv.Error:  # an open quote, or a cell too long, which over many lines is the same
        if reader.line_num == start:
            raise
        raise csv.Error(f"row {start} has a quote that is not closed") from None
