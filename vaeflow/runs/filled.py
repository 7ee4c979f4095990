"""Data with its missing values filled in, as files and in sentences.

Shapes: N examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vaeflow.data.beside import apart
from vaeflow.data.columns import spelled
from vaeflow.data.kinds import is_index
from vaeflow.errors import spoken
from vaeflow.evaluation.imputation import Imputed
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.parts.datasets.files.written import TABLES, check_new, write_columns
from vaeflow.runs.given import Given
from vaeflow.text import html_columns, html_table


@dataclass(frozen=True)
class Filled:
    """N examples with their missing values filled in, in the data's own units.

    Attributes:
        imputed: the examples as the model takes them, the spread of each value, and the weights.
        columns: of a table, name -> values (N,): its own, and in its gaps the mean given what was
            observed of the row, or the most probable level.
        spread: of each column with a gap, what is known of the filled values, NaN of observed ones:
            age_sd, the standard deviation of a number, site_probability, of the level, and
            visits_mean, the mean that is rounded for a count.
        x: of arrays (N, *data_shape); of a table, its values as the model takes them.
        given: the data as it came.
        gaps: of a table, column -> how many of its values were filled in.
    """

    imputed: Imputed
    x: np.ndarray
    columns: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    given: Given
    gaps: Mapping[str, int]

    def call(self, index: int) -> str:
        """Return how messages call an example."""
        split = "" if self.given.splits is None else f"{self.given.splits[index]} "
        return f"{split}{'row' if self.columns else 'example'} {self.given.rows[index]}"

    def _repr_html_(self) -> str:
        if not self.columns:
            return html_table("Filled", [("examples", f"{len(self.x):,}"), ("told", self)])
        return html_columns("Filled", {**self.key, **self.columns})

    @property
    def key(self) -> dict[str, np.ndarray]:
        """Return what tells the rows apart: ids, which are all different, or else their numbers."""
        ids = {
            name: values
            for name, values in self.given.beside.items()
            if not is_index(name) and _whole(values) and len({*values.tolist()}) == len(values)
        }
        return ids or {"row": np.asarray(self.given.rows)}

    def save(self, path: str | Path, named: str = "") -> tuple[Path, ...]:
        """Write the data filled in: a table, with the spread of its values in a file beside it.

        Beside people.csv that is people.spread.csv. Of arrays, an .npz file holds both.

        Arguments:
            path: .csv, .tsv, .parquet or .arrow of a table, else .npz.
            named: before the path in messages.

        Returns:
            The paths.

        Raises:
            ConfigError: if a file exists, or has no directory or another ending.
            StorageError: if one cannot be written.
        """
        paths = places(Path(path), table=bool(self.columns), named=named)
        if not self.columns:
            write_columns(paths[0], _arrays(self))
            return paths
        write_columns(paths[0], self.columns, like=self.given.path)
        write_columns(paths[1], {**self.key, **apart(self.spread, self.key)})
        return paths

    def __str__(self) -> str:
        """Return in sentences what was filled in, and how far it is to be trusted."""
        return spoken("\n".join(_told(self)))


def places(path: Path, *, table: bool, named: str = "") -> tuple[Path, ...]:
    """Return the new files of filled data: one, or people.csv and people.spread.csv of a table.

    Raises:
        ConfigError: if a file exists, or has no directory or another ending.
    """
    paths = [path]
    if table:
        zipped = ".gz" if path.name.lower().endswith(".gz") else ""
        stem, _, ending = path.name[: len(path.name) - len(zipped)].rpartition(".")
        paths.append(path.with_name(f"{stem}.spread.{ending}{zipped}"))
    for each in paths:
        check_new(each, *(TABLES if table else (".npz",)), named=named)
    return tuple(paths)


def _arrays(found: Filled) -> dict[str, np.ndarray]:
    """Return what an .npz file holds of examples that are no table."""
    of = found.imputed
    beside = {"effective_sample_size": of.effective_sample_size, "pareto_k": of.pareto_k}
    splits = {} if found.given.splits is None else {"split": found.given.splits}
    return {
        "x": found.x,
        "spread": of.spread.numpy(),
        **{name: values.numpy() for name, values in beside.items()},
        **splits,
    }


def _whole(values: np.ndarray) -> bool:
    """Tell whether values are texts or whole numbers, and none is missing."""
    if values.dtype == object:
        return not _count_gaps(values)
    return bool((values == np.floor(values)).all())


def _count_gaps(values: np.ndarray) -> int:
    return sum(spelled(value) is None for value in values.tolist())


def _listed(counts: Mapping[str, int]) -> str:
    """Return "age 12, site 3, …"."""
    each = [f"{name} {count:,}" for name, count in counts.items()]
    more = f", … ({len(each)} columns)" if len(each) > 10 else ""
    return ", ".join(each[:10]) + more


def _told(found: Filled) -> Iterator[str]:
    of = found.imputed
    if left := {name: n for name, v in found.columns.items() if (n := _count_gaps(v))}:
        yield f"left empty, in columns that the model does not know: {_listed(left)}"
    if not of.missing.any():
        yield "no value is missing: nothing is filled in"
        return
    what = "row" if found.columns else "example"
    count, each = int(of.missing.sum()), ""
    if found.gaps:
        count = sum(found.gaps.values())
        each = f": {_listed(found.gaps)}"
    some = of.incomplete
    yield f"filled {count:,} values in {int(some.sum()):,} of {len(of):,} {what}s{each}"
    sizes = of.effective_sample_size
    least = int(sizes.nan_to_num(nan=math.inf).argmin())
    yield (
        f"effective sample size of K = {of.draws:,} draws: {sizes[some].median():.0f} (median), "
        f"{sizes[least]:.0f} ({found.call(least)}, the least)"
    )
    bad = of.unreliable.nonzero()[:, 0].tolist()
    if bad:
        shown = ", ".join(map(found.call, bad[:5])) + (", …" if len(bad) > 5 else "")
        what += "s" * (len(bad) > 1)
        yield (
            f"weights unreliable (Pareto-k̂ above {UNRELIABLE}) of {len(bad):,} {what}: {shown}; "
            "more draws do not mend a proposal that fits badly: train for more --epochs, with "
            "--objective iwae, or with a flow such as --posterior planar"
        )
