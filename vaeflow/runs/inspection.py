"""What data is, before anything is trained: its shape, its values, and what to train it with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.config.layers import Layers, Plan
from vaeflow.data.columns import Column
from vaeflow.data.covariates import absent
from vaeflow.data.kinds import LeftOut, kind_of_texts
from vaeflow.data.splits import Splits
from vaeflow.data.units import readable
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.written import TABLES
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import load_data
from vaeflow.runs.facts import Facts, facts_of
from vaeflow.runs.suggestion import Suggestion, meetings, suggest

_LEVELS = 5  # of a category that are named


@dataclass(frozen=True)
class Inspection:
    """What a data set is, and how to train with it.

    Attributes:
        dataset: the name of the data set.
        splits: the data.
        facts: what its values are.
        suggestion: the likelihood that suits it.
        likelihoods: each likelihood, and how it meets the data.
        command: trains with the suggestion.
    """

    dataset: str
    splits: Splits
    facts: Facts
    suggestion: Suggestion
    likelihoods: Mapping[str, str]
    command: str

    def columns(self) -> list[tuple[str, str, str, str]]:
        """Return name, kind, values and share of missing values of each column of a table."""
        x = np.concatenate([part.numpy() for _, part in self.splits])
        where = self.splits.columns.slices()
        return [
            (c.name, c.kind, _values(c, x[:, where[c.name]]), _missing(x[:, where[c.name]]))
            for c in self.splits.columns
        ]

    def findings(self) -> list[str]:
        """Return in words what is to be known of the data beside its shape."""
        facts, found = self.facts, []
        missing, total = self.missing()
        if not self.splits.columns:
            levels = f", {facts.levels:,} levels" if facts.levels else ""
            levels = ", all 0 or 1" if facts.levels == 2 else levels
            found.append(f"values in [{facts.low:g}, {facts.high:g}]{levels}")
        if missing:
            what = "cells" if self.splits.columns else "values"
            found.append(f"{missing:,} of {total:,} {what} are missing")
        if facts.constant:
            which = "value is" if facts.constant == 1 else "values are"
            found.append(f"{facts.constant:,} {which} the same in all training examples")
        if facts.repeated == 1:
            found.append("1 training example is a copy of another")
        elif facts.repeated:
            found.append(f"{facts.repeated:,} training examples are copies of others")
        for pair, count in facts.shared.items():
            one, other = pair.replace("train", "training").split(" in ")
            told = f"examples are {other} examples" if count > 1 else f"example is a {other} one"
            found.append(f"{count:,} {one} {told} as well")
        labels = self.splits.labels.get("train", {})
        suited = sorted(name for name, values in labels.items() if _suits_condition(values))
        if names := sorted(labels.keys() - suited):
            found.append(f"beside the data: {_some(names)}")
        if suited:
            found.append(f"beside the data, for --condition: {_some(suited)}")
        return found

    def missing(self) -> tuple[int, int]:
        """Return how many values are missing, and how many there are; of a table, of its cells."""
        examples = sum(self.splits.sizes().values())
        if not self.splits.columns:
            shape = self.splits.kept("train")[:1].shape
            return self.facts.missing, examples * shape.numel()
        first = [where.start for where in self.splits.columns.slices().values()]
        gaps = sum(int(part[:, first].isnan().sum()) for _, part in self.splits)
        return gaps, examples * len(first)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        keys = ("name", "kind", "values", "missing")
        return {
            "dataset": self.dataset,
            "sizes": self.splits.sizes(),
            "shape": list(self.splits.data_shape),
            **asdict(self.facts),
            "missing": self.missing()[0],
            "columns": [dict(zip(keys, row, strict=True)) for row in self.columns()],
            "labels": sorted(self.splits.labels.get("train", ())),
            "likelihood": self.suggestion.likelihood,
            "why": self.suggestion.why,
            "likelihoods": dict(self.likelihoods),
            "command": self.command,
        }


def inspect(options: Mapping[str, str], data_root: Path | None, plugins: Plugins) -> Inspection:
    """Load a data set and tell what it is.

    Arguments:
        options: "name" -> the name of the data set, and its options as text.
        data_root: the directory of its files, if it is given.
        plugins: where parts are looked up.

    Raises:
        ConfigError, DataError, PluginError: if it cannot be loaded.
    """
    layers = Layers()
    root = {} if data_root is None else {"data_root": data_root}
    layers.add({"dataset": dict(options), **root}, "vaeflow data inspect")
    plan: Plan = layers.resolve(plugins)
    splits = load_data(plan)
    facts = facts_of(splits)
    suggestion = suggest(splits, facts)
    words = ["vaeflow", "train", "--dataset", options["name"]]
    for option, value in options.items():
        words += [f"--dataset.{option.replace('_', '-')}", value] if option != "name" else []
    words += [] if data_root is None else ["--data-root", str(data_root)]
    words += ["--likelihood", suggestion.likelihood, *suggestion.options]
    words += ["--objective", "iwae"] if facts.missing else []
    words += ["--run-dir", f"runs/{_run_name(options)}"]
    return Inspection(
        dataset=options["name"],
        splits=splits,
        facts=facts,
        suggestion=suggestion,
        likelihoods=meetings(splits, facts, plugins.registry.parts("likelihood")),
        command=shlex.join(words),
    )


def _run_name(options: Mapping[str, str]) -> str:
    """Return what a run of a data set may be called: its file's name up to the first dot."""
    return Path(options.get("path", "")).name.partition(".")[0] or options["name"]


def dataset_of(path: Path) -> str:
    """Return the name of the data set that reads a path.

    Raises:
        DataError: if nothing is there.
    """
    if path.is_dir():
        return "images"
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder: check the path")
    with open(path, "rb") as file:
        magic = file.read(6)
    endings = (*TABLES, ".tab", ".txt", ".data")
    if path.name.lower().removesuffix(".gz").endswith(endings):
        return "table"
    return "table" if magic[:4] == b"PAR1" or magic == b"ARROW1" else "file"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LEVELS]) + (", …" if len(names) > _LEVELS else "")


def _suits_condition(values: np.ndarray) -> bool:
    """Tell whether values beside the data are more than ids, names and dates."""
    known = values[~absent(values)]
    if values.dtype.kind in "OU":
        return not isinstance(kind_of_texts({*map(str, known)}, len(known)), LeftOut)
    whole = values.dtype.kind in "iu" or bool((known == np.floor(known)).all())
    return not whole or len(np.unique(known)) < len(known)


def _values(column: Column, x: np.ndarray) -> str:
    if column.kind == "category":
        shown = ", ".join(column.levels[:_LEVELS]) + (", …" if len(column.levels) > _LEVELS else "")
        return f"{len(column.levels)} levels: {shown}"
    if column.kind == "boolean":
        true = float(np.nanmean(x))
        return f"{column.levels[0]} {1 - true:.1%}, {column.levels[1]} {true:.1%}"
    ends = np.array([[np.nanmin(x, initial=np.inf)], [np.nanmax(x, initial=-np.inf)]])
    low, high = (readable(column, column.decode(ends)) + 0.0).tolist()  # 0 for −0
    return f"{low:.10g} … {high:.10g}"


def _missing(x: np.ndarray) -> str:
    share = float(np.isnan(x[:, 0]).mean())
    return f"{share:.1%}" if share else ""
