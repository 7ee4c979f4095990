"""metrics.jsonl, the file of a run's epochs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vaeflow.model import VAE
from vaeflow.storage import write_file, writing
from vaeflow.training.observers import Observer, Record


class MetricsFile(Observer):
    """Writes one JSON object per epoch. A resumed run drops the epochs after its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        kept = [line for line in read_metrics(self.path) if line["epoch"] <= epoch]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_file(self.path, text, make_folder=False)

    def epoch(self, record: Record, model: VAE) -> None:
        line = json.dumps(record, allow_nan=False) + "\n"
        cure = f"free some space, then `vaeflow resume {self.path.parent}`"
        with writing(self.path, cure), open(self.path, "a", encoding="utf-8") as f:
            f.write(line)


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
