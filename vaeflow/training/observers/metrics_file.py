"""metrics.jsonl, the file of a run's epochs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vaeflow.errors import StorageError
from vaeflow.model import VAE
from vaeflow.training.observers import Observer, Record


class MetricsFile(Observer):
    """metrics.jsonl: one JSON object per epoch. A resumed run drops what it will do again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        kept = [line for line in read_metrics(self.path) if line["epoch"] <= epoch]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        temporary = self.path.with_suffix(".tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written ({error.strerror})") from None

    def epoch(self, record: Record, model: VAE) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as f:
                f.write(json.dumps(record, allow_nan=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then "
                f"`vaeflow resume {self.path.parent}`"
            ) from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a line torn by a crash, which can only be the last, is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
