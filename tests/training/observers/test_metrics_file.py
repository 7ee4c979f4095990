"""metrics.jsonl: what was in the file and which figures come, every epoch has its row."""

from __future__ import annotations

import json
import logging
import math

import pytest

from vaeflow.training.observers import Crew
from vaeflow.training.observers.metrics_file import MetricsFile, read_metrics


def row(epoch, **more):
    return {"epoch": epoch, "step": 2 * epoch, "train/loss": 0.5 * epoch, **more}


def train(path, done, epochs):
    """Go on after `done` epochs, as the trainer does, and return what the file then holds."""
    crew = Crew([MetricsFile(path)])
    crew.start(done, 2 * done, epochs, 2)
    for epoch in range(done + 1, epochs + 1):
        crew.epoch(row(epoch), None)
    crew.end("completed")
    found = read_metrics(path)
    assert len(found) == len(path.read_text().splitlines())
    return found


GOOD = b"".join(json.dumps(row(e)).encode() + b"\n" for e in (1, 2))
BAD = {
    "not UTF-8": b"\xff\xfe\x00",
    "not JSON": b"{'epoch': 2}",
    "deeply nested": b"[" * 10**5,
    "no object": b"3",
    "no epoch": b"{}",
    "epoch of another type": b'{"epoch": "2", "step": 4}',
    "an epoch without steps": b'{"epoch": 2}',
}


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_a_line_that_is_no_record_is_kept_aside_and_told(tmp_path, caplog, line, where):
    path = tmp_path / "metrics.jsonl"
    lines = GOOD.splitlines(keepends=True)
    lines.insert(where, line + b"\n")
    path.write_bytes(b"".join(lines))
    assert train(path, 2, 4) == [row(e) for e in (1, 2, 3, 4)]
    assert (tmp_path / "metrics.bad.jsonl").read_bytes() == line + b"\n"
    (told,) = caplog.records
    assert told.getMessage() == (
        f"{path} has 1 line that no run wrote: metrics.bad.jsonl keeps what was there"
    )


def test_lines_that_were_kept_aside_before_stay(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for line in (b"\xff\n", b"\xfe\n"):
        path.write_bytes(GOOD + line)
        train(path, 2, 2)
    assert (tmp_path / "metrics.bad.jsonl").read_bytes() == b"\xff\n\xfe\n"


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_a_line_torn_by_a_crash_is_dropped_without_a_word(tmp_path, caplog, cut):
    caplog.set_level(logging.INFO)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(GOOD[:cut])
    whole = GOOD[: cut + 1].count(b"\n")  # a lost newline costs no row
    assert train(path, whole, 3) == [row(e) for e in (1, 2, 3)]
    assert not (tmp_path / "metrics.bad.jsonl").exists()
    assert not caplog.records


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_null(tmp_path, caplog, figure):
    path = tmp_path / "metrics.jsonl"
    crew = Crew([MetricsFile(path)])
    crew.start(0, 0, 2, 2)
    crew.epoch(row(1, grad_norm=figure), None)
    crew.epoch(row(2, grad_norm=1.0), None)
    assert [r["grad_norm"] for r in read_metrics(path)] == [None, 1.0]
    assert not caplog.records


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(GOOD)
    assert train(path, 1, 2) == [row(1), row(2)]


def test_an_infinite_constant_is_read_as_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1, "step": 2, "grad_norm": Infinity, "kl": NaN}\n')
    (found,) = read_metrics(path)
    assert found == {"epoch": 1, "step": 2, "grad_norm": None, "kl": None}
