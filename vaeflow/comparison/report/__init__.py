"""A comparison written down: Markdown, CSV, JSON, a plot, and a page of all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.report.numbers import as_csv, as_json
from vaeflow.comparison.report.page import markdown, page
from vaeflow.comparison.report.plot import draw
from vaeflow.errors import ConfigError
from vaeflow.storage import write_file

NAMES = ("report.md", "report.csv", "report.json", "report.html", "report.png")


def check_free(folder: Path, runs: Iterable[Path]) -> list[str]:
    """Return where the runs lie, seen from `folder`, once it may hold their report.

    A report may be renewed, and be of more runs than before.

    Raises:
        ConfigError: if it holds a report of other runs.
    """
    of = sorted(os.path.relpath(path, folder) for path in runs)
    there = [name for name in NAMES if (folder / name).exists()]
    if there:
        try:
            before = set(json.loads((folder / "report.json").read_text(encoding="utf-8"))["of"])
        except (OSError, ValueError, KeyError, TypeError):
            before = None
        if before is None or not before <= set(of):
            raise ConfigError(
                f"--out {folder}: its {there[0]} is of other runs, and nothing is overwritten; "
                "choose another directory"
            )
    return of


def write(comparison: Comparison, folder: Path, of: list[str]) -> list[Path]:
    """Write all files of the report, and return their paths.

    Arguments:
        comparison: the comparison to write.
        folder: the directory; it is made.
        of: the result of `check_free`, kept so that the report can be renewed.

    Raises:
        StorageError: if the file system refuses.
    """
    numbers = {"of": of, **as_json(comparison)}
    png = draw(numbers)
    contents = {  # the first says whose the others are, if no more is written
        "report.json": (json.dumps(numbers, indent=2) + "\n").encode(),
        "report.md": markdown(comparison).encode(),
        "report.csv": as_csv(comparison).encode(),
        "report.html": page(comparison, png).encode(),
        "report.png": png,
    }
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]
