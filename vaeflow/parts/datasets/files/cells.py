"""The cells of a text, column by column: numbers, texts, and what stands for a missing value."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

import numpy as np

from vaeflow.data.table import NAN, NUMBER

# Spellings of a missing value, in small letters. The last ones are so among numbers alone: a text
# may be called "none".
_GAPS = ("", "na", "n/a", "#n/a", "#na", "<na>", *NAN, "nat", "null", "?")
_GAPS_AMONG_NUMBERS = ("none", "-", "--", ".")
_AS_WRITTEN = "None"  # Python's, among texts too

_CODE = r"^[+-]?0[0-9]+$"  # a number would lose the leading zeros
COMMA = r"^[+-]?([0-9]+,[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?$"  # with a decimal comma
_POINT = r"[0-9]\.|\.[0-9]"
_EXACT = 2.0**53  # from where on float64 leaves out whole numbers

CellsType = Literal["number", "decimal comma", "text"]


class Cells:
    """The cells of one column; each different text is looked at once.

    Arguments:
        column: a chunked array of texts.
        missing: more spellings of a missing value.
        comma: whether a number may have a decimal comma.
    """

    def __init__(self, column: Any, missing: Iterable[str] = (), *, comma: bool = False) -> None:
        import pyarrow.compute as pc

        whole = column.unify_dictionaries().combine_chunks()
        trimmed = pc.utf8_trim_whitespace(whole.dictionary).dictionary_encode()
        self._texts = trimmed.dictionary
        self._codes = trimmed.indices.to_numpy()[whole.indices.to_numpy()]
        self._more = {text.strip().lower() for text in missing}
        self._comma = comma

    def __len__(self) -> int:
        return len(self._codes)

    def _matching(self, pattern: str) -> np.ndarray:
        import pyarrow.compute as pc

        return np.asarray(pc.match_substring_regex(self._texts, pattern))

    def _missing(self, *, numbers: bool) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        known = {*_GAPS, *self._more, *(_GAPS_AMONG_NUMBERS if numbers else ())}
        low = pc.is_in(pc.utf8_lower(self._texts), value_set=pa.array(sorted(known)))
        return np.asarray(pc.or_(low, pc.equal(self._texts, _AS_WRITTEN)))

    @cached_property
    def type(self) -> CellsType:
        """Return what all cells are that are not missing; where all are missing, numbers."""
        left = ~self._missing(numbers=True)
        fits = self._matching(NUMBER) & ~self._matching(_CODE)
        if fits[left].all():
            return "number"
        fits = self._matching(COMMA) | (fits & ~self._matching(_POINT))
        return "decimal comma" if self._comma and fits[left].all() else "text"

    @property
    def pointed(self) -> str:
        """Return a number with a point, "" if there is none."""
        found = np.flatnonzero(self._matching(_POINT))
        return str(self._texts[found[0].item()].as_py()) if len(found) else ""

    @cached_property
    def numbers(self) -> np.ndarray:
        """Return the values (N,) of cells that are numbers, in float64."""
        import pyarrow as pa
        import pyarrow.compute as pc

        plain = pc.utf8_ltrim(self._texts, "+")
        if self.type == "decimal comma":
            plain = pc.replace_substring(plain, ",", ".")
        plain = pc.if_else(pa.array(self._missing(numbers=True)), None, plain)
        values = np.asarray(plain.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        found: np.ndarray = values[self._codes]
        return found

    @property
    def exact(self) -> np.ndarray | None:
        """Return the numbers as they are written, if float64 rounds whole ones."""
        large = bool(((abs(self.numbers) >= _EXACT) & np.isfinite(self.numbers)).any())
        return np.array(self._texts.to_pylist())[self._codes] if large else None

    @property
    def texts(self) -> np.ndarray:
        """Return the texts (N,), None where one is missing."""
        texts = np.array([*self._texts.to_pylist(), None], object)[:-1]
        texts[self._missing(numbers=False)] = None
        found: np.ndarray = texts[self._codes]
        return found

    @property
    def gaps(self) -> dict[str, int]:
        """Return how missing values are written, and how many are."""
        missing = np.flatnonzero(self._missing(numbers=self.type != "text"))
        counts = np.bincount(self._codes, minlength=len(self._texts))
        return {self._texts[i].as_py(): int(counts[i]) for i in missing.tolist()}

    def holds(self, text: str) -> bool:
        """Tell whether a cell is that text."""
        return text in self._texts.to_pylist()
