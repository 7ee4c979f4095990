"""The columns of a table that are taken as data, and what is told of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from vaeflow.data.columns import ColumnKind
from vaeflow.data.kinds import LeftOut, kind_of, quoted, top_level
from vaeflow.data.table import Table
from vaeflow.data.telling import log
from vaeflow.errors import DataError

_NAMED = 4  # names that a message tells of many


@dataclass(frozen=True)
class Chosen:
    """The kinds of the columns that are taken, and why others are left out.

    `levels` tells of columns that are levels of one scale, if there are some.
    """

    table: Table
    kinds: Mapping[str, ColumnKind]
    left_out: Mapping[str, LeftOut]
    levels: str = ""

    def tell(self) -> None:
        """Say what was left out, what is missing, and what kinds the columns were taken for."""
        if self.left_out:
            log.warning("%s: left out %s", self.table.origin, self._told_left_out())
        if told := self._told_gaps():
            log.warning("%s: %s", self.table.origin, told)
        if self.levels:
            log.warning("%s: %s", self.table.origin, self.levels)
        for name, kind in self.kinds.items():
            if kind == "number" and (told := _told_ids(self.table, name)):
                log.warning("%s: %s", self.table.origin, told)
        each = ", ".join(
            f"{word} {_some(names)}"
            for kind, word in _WORDS.items()
            if (names := [n for n, k in self.kinds.items() if k == kind])
        )
        log.info("%s: %s; --dataset.kinds chooses otherwise", self.table.origin, each)

    def _told_left_out(self) -> str:
        reasons: dict[str, list[str]] = {}
        for name, left_out in self.left_out.items():
            reasons.setdefault(left_out.why, []).append(name)
        told = "; ".join(f"{_some(names)} ({why})" for why, names in reasons.items())
        advice = []
        if ids := [name for name, left in self.left_out.items() if left.names_rows]:
            stay, them = ("stays", "it") if len(ids) == 1 else ("stay", "them")
            advice.append(
                f"{_some(ids)} {stay} beside the data, and `vaeflow encode` writes {them} with "
                "the codes"
            )
        cured = [(n, v.cure) for n, v in self.left_out.items() if v.cure and not v.names_rows]
        if cured:
            name, kind = cured[0]
            option = f"--dataset.kinds {quoted(f'{name}={kind}')}"
            advice.append(f"{option} takes {'it' if len(cured) == 1 else 'such a column'} in")
        return ": ".join(filter(None, (told, "; ".join(advice))))

    def _told_gaps(self) -> str:
        counts = {n: sum(g.values()) for n, g in self.table.gaps.items() if n in self.kinds}
        if not counts:
            return ""
        spelled = Counter[str]()
        for name in counts:
            spelled.update(self.table.gaps[name])
        words = [repr(word) if word else "empty" for word, _ in spelled.most_common(_NAMED)]
        most = sorted(counts, key=lambda name: -counts[name])
        named = ", ".join(f"{counts[n]:,} of {n}" for n in most[:_NAMED])
        rest = sum(counts[name] for name in most[_NAMED:])
        others = len(most) - _NAMED
        more = f", {rest:,} of {others:,} other column{'s' * (others > 1)}" if rest else ""
        total = self.table.size * len(self.kinds)
        return (
            f"{sum(counts.values()):,} of {total:,} values are missing, written as "
            f"{', '.join(words)}: {named}{more}"
        )


_WORDS = {
    "number": "numbers",
    "count": "counts",
    "boolean": "true or false",
    "category": "categories",
}


def choose(
    table: Table,
    columns: Sequence[str],
    drop: Sequence[str],
    kinds: Mapping[str, ColumnKind],
    apart: Mapping[str, str | None],
) -> Chosen:
    """Return which columns are data, and of which kind.

    Arguments:
        table: that holds them.
        columns: names and patterns of those to take; none of them takes all.
        drop: names and patterns of those to leave out.
        kinds: name or pattern -> kind, of which a later one wins.
        apart: option -> the column that it names, which is no data.

    Raises:
        DataError: if a name is none of the table's, or no column is left.
    """
    for option, name in apart.items():
        if name is not None:
            table.require(name, option)
    wanted = matching(table, columns, "--dataset.columns") if columns else [*table.types]
    dropped = {*matching(table, drop, "--dataset.drop"), *apart.values()}
    given = {
        name: kind
        for pattern, kind in kinds.items()
        for name in matching(table, [pattern], "--dataset.kinds")
    }
    asked = {*columns, *kinds}
    found: dict[str, ColumnKind] = {}
    left_out: dict[str, LeftOut] = {}
    for name in wanted:
        if name in dropped:
            continue
        if name in kinds:
            table.require(name, "--dataset.kinds")
        kind = kind_of(table, name, given.get(name), asked=name in asked)
        if isinstance(kind, LeftOut):
            left_out[name] = kind
        else:
            found[name] = kind
    for name in {*columns} & {*left_out}:
        cure = left_out[name].cure
        raise DataError(
            f"--dataset.columns {quoted(name)}: {table.origin} holds {left_out[name].why} there: "
            + (f"use --dataset.kinds {quoted(f'{name}={cure}')}" if cure else "give others")
        )
    if not found:
        told = Chosen(table, found, left_out)._told_left_out() if left_out else "all"
        raise DataError(f"{table.origin}: no column is left as data, without {told}")
    counts = [n for n, kind in found.items() if kind == "count" and n not in given]
    top = top_level(table, counts)
    if top is None:
        return Chosen(table, found, left_out)
    levels = (
        f"{_some(counts)} are taken for levels 0 … {top} of one scale, and so for numbers: "
        f"--dataset.kinds {quoted(f'{counts[0]}=count')} takes such a column for counts"
    )
    return Chosen(table, found | dict.fromkeys(counts, "number"), left_out, levels)


def matching(table: Table, patterns: Iterable[str], option: str) -> list[str]:
    """Return the columns that some names and patterns name, in the order of the table.

    Raises:
        DataError: if one of them names none.
    """
    found = set()
    for pattern in patterns:
        names = [pattern] if pattern in table.types else []
        names = names or [name for name in table.types if fnmatchcase(name, pattern)]
        if not names:
            table.require(pattern, option)
        found.update(names)
    return [name for name in table.types if name in found]


def _some(names: Sequence[str]) -> str:
    """Return a few names, and how many there are."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown}, … ({len(names):,} columns)"


def _told_ids(table: Table, name: str) -> str:
    """Return a warning of numbers that look like ids, or that float64 cannot tell apart."""
    values, exact = table[name], table.exact.get(name)
    if values.dtype == object or np.isnan(values).any() or abs(values).max() < 2**24:
        return ""
    cure = f"leave it out by --dataset.drop {quoted(name)}"
    before, after = len(np.unique(values if exact is None else exact)), len(np.unique(values))
    if after < before:
        return (
            f"{table.call(name)} holds whole numbers beyond 2^53, of which {before:,} different "
            f"ones become {after:,}: {cure}"
        )
    if after < len(values) or (values != np.floor(values)).any():
        return ""
    return (
        f"{table.call(name)} holds {after:,} different whole numbers of up to {max(values):.0f}, "
        f"as ids and times do, and is taken for a number: {cure} if it is none"
    )
