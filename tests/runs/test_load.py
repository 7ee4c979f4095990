"""Models of runs: loaded from any place, without a trace, with the best or the last weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import vaeflow
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run


def weights(path: Path) -> dict[str, torch.Tensor]:
    return vaeflow.load(path).state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_moved_run_loads(trained, run_copy, tmp_path, monkeypatch):
    before = weights(trained)
    moved = tmp_path / "a folder ünïcode" / "renamed run"
    moved.parent.mkdir()
    run_copy.rename(moved)
    assert equal(weights(moved), before)
    monkeypatch.chdir(moved)
    assert equal(weights(Path(".")), before)
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert equal(weights(link), before)


def test_reading_leaves_a_read_only_run_unchanged(run_copy, snapshot, monkeypatch):
    for path in [run_copy, *run_copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(run_copy)

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    # Root ignores the mode, and containers run the tests as root.
    for owner, name in (
        (Path, "write_text"), (Path, "mkdir"), (os, "replace"), (os, "rename"), (os, "mkdir"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, refuse)
    run = Run.open(run_copy)
    assert run.plan(load_plugins()).config.latent == 3
    assert run.status["state"] == "completed"
    assert len(run.metrics) == 2
    assert weights(run_copy)
    assert snapshot(run_copy) == before
    monkeypatch.undo()
    for path in [run_copy, *run_copy.rglob("*")]:
        path.chmod(0o755)


def test_best_and_last_weights_differ_after_a_worse_epoch(trained):
    best = vaeflow.load(trained, weights="best").state_dict()
    last = vaeflow.load(trained, weights="last").state_dict()
    records = Run.open(trained).metrics
    earlier = records[0]["validation/elbo"] > records[1]["validation/elbo"]
    assert equal(best, last) is not earlier


@pytest.mark.parametrize("name", ["foo", "Best", "", None])
def test_other_weights_are_refused(trained, name, one_sentence):
    with pytest.raises(ConfigError, match=r"weights is .*, but 'best' or 'last' is") as caught:
        vaeflow.load(trained, weights=name)
    one_sentence(str(caught.value))
