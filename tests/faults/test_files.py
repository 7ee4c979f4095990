"""Every file and every run directory is as it was or as it was to be, whenever a kill comes."""

import shutil
import signal

import pytest
from system_calls import kill_at, watched

from vaeflow import storage
from vaeflow.config.layers import Layers
from vaeflow.errors import CheckpointError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run
from vaeflow.storage import write_file


def killed(fork, root, act, number, *, halfway):
    """Let a child act, and kill it at one of its calls; return whether it was killed."""

    def work():
        with watched(root, kill_at(number, halfway=halfway)):
            act()

    status = fork(work).end().status
    assert status in (0, -signal.SIGKILL)
    return status != 0


def every_kill(fork, root, act):
    """Kill at each call, and in the middle of each write, until one is not reached."""
    number = 0
    while True:
        number += 1
        for halfway in (False, True):
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            if not killed(fork, root, act, number, halfway=halfway):
                return
            yield


@pytest.mark.parametrize("mutant", [False, True])
def test_a_file_is_whole_whenever_a_kill_comes(tmp_path, fork, monkeypatch, counted, mutant):
    """Mutant: it is written under its own name."""
    if mutant:
        monkeypatch.setattr(storage, "temporary_name", lambda path: path)
    root, seen = tmp_path / "root", []
    for _ in every_kill(fork, root, lambda: write_file(root / "file", b"whole")):
        seen.append((root / "file").read_bytes() if (root / "file").exists() else b"")
    half = sum(content not in (b"", b"whole") for content in seen)
    if mutant:
        assert half
    else:
        counted("kills while a file is replaced", len(seen), lost=half)


def test_a_run_directory_is_whole_whenever_a_kill_comes(tmp_path, fork, counted):
    layers, plugins = Layers(), load_plugins()
    layers.add({"posterior": {"name": "planar"}}, "test")
    plan = layers.resolve(plugins)
    root, cases, half = tmp_path / "root", 0, 0
    for _ in every_kill(fork, root, lambda: Run.create(root / "run", plan, {"data_shape": [4]})):
        cases += 1
        if (root / "run").exists():
            try:
                Run.open(root / "run").plan(plugins)
            except CheckpointError:
                half += 1
        else:  # the same command makes it
            Run.create(root / "run", plan, {"data_shape": [4]})
    counted("kills while a run directory is made", cases, lost=half)
