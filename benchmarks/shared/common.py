"""For all benchmark scripts: interleaved timing, the machine in words, result files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parents[1] / "results"


def interleaved(
    contenders: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    steps: int,
    warm: int = 3,
    settle: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Time contenders in turns, `steps` calls at a time; return seconds per call of each round.

    Turns keep the comparison fair on a machine whose speed drifts: a ratio is taken within a round.
    Each is called `warm` times before. `settle` waits at the ends of a turn for a device that works
    on its own.
    """
    for call in contenders.values():
        for _ in range(warm):
            call()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            settle()
            start = time.perf_counter()
            for _ in range(steps):
                call()
            settle()
            times[name].append((time.perf_counter() - start) / steps)
    return times


def ratio(times: Mapping[str, Sequence[float]], a: str, b: str) -> float:
    """Return the median over rounds of a's time over b's."""
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def machine() -> str:
    """Describe the machine without naming it."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            cpu = next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    return f"{cpu}, {os.cpu_count()} cores, {threads} threads{gpu}, torch {torch.__version__}"


def write_results(name: str, figures: Mapping[str, Any], markdown: str) -> None:
    """Write results/NAME.json and results/NAME.md, and print the latter."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(figures, indent=2) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(markdown, encoding="utf-8")
    print(markdown)


def table(headings: Sequence[object], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(map(str, headings)) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
