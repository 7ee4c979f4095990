"""metrics.jsonl, the file of a run's epochs."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaeflow.model import VAE
from vaeflow.reading import read_file, sealed, unsealed
from vaeflow.storage import append_to_file, write_file, writing
from vaeflow.training.observers import Observer, Record

log = logging.getLogger("vaeflow")


class MetricsFile(Observer):
    """Writes one JSON object per epoch. A resumed run drops the epochs after its checkpoint.

    No content of the file and no figure of an epoch stops it: a line that is no record is moved to
    metrics.bad.jsonl, and a figure that is not finite is null.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = path.with_name("metrics.bad.jsonl")

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        with writing(self.path):
            records, others = _split(_content(self.path))
        if others:
            before = _content(self.aside)
            text = before + b"".join(line + b"\n" for line in others)
            write_file(self.aside, text, make_folder=False)
            log.warning(
                "%s has %d line%s that no run wrote: %s keeps what was there",
                self.path, len(others), "s" if len(others) > 1 else "", self.aside.name,
            )  # fmt: skip
        kept = [r for r in records if r["epoch"] <= epoch]
        _tell_lost(self.path, len(kept), epoch)
        write_metrics(self.path, kept)

    def epoch(self, record: Record, model: VAE) -> None:
        cure = f"free some space, then `vaeflow resume {self.path.parent}`"
        append_to_file(self.path, _line(record), cure)


def read_metrics(path: Path, epochs: int = 0) -> list[dict[str, Any]]:
    """Read metrics.jsonl without the lines that are no records, such as one torn by a crash.

    Fewer than `epochs` records are told of.
    """
    records = _split(_content(path))[0]
    _tell_lost(path, len(records), epochs)
    return records


def _tell_lost(path: Path, kept: int, epochs: int) -> None:
    if kept < epochs:
        log.warning("%s has the records of %d of %d epochs: restore it", path, kept, epochs)


def write_metrics(path: Path, records: Iterable[Record]) -> None:
    """Write metrics.jsonl anew.

    Raises:
        StorageError: if the file system refuses.
    """
    write_file(path, "".join(map(_line, records)), make_folder=False)


def _line(record: Record) -> str:
    # JSON has no NaN and no infinity.
    finite = {k: None if _infinite(v) else v for k, v in record.items()}
    return json.dumps(sealed(finite), allow_nan=False) + "\n"


def _infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _content(path: Path) -> bytes:
    """Return what the file holds, nothing if it is missing or no file, such as a pipe."""
    try:
        return read_file(path)
    except (FileNotFoundError, ValueError):
        return b""


def _split(content: bytes) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the records and, as they are, the other lines; a torn last line is neither."""
    *lines, torn = content.split(b"\n")
    records = [(line, _record(line)) for line in lines]
    found = [record for _, record in records if record is not None]
    if (last := _record(torn)) is not None:  # only its newline was lost
        found.append(last)
    return found, [line for line, record in records if record is None and line.strip()]


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record that a line holds, None if it holds none."""
    try:
        found = json.loads(line.decode(), parse_constant=lambda name: None)
        found = unsealed(found) if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and all(type(found.get(k)) is int for k in ("epoch", "step"))
    return found if whole else None
