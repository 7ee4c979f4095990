"""A training on a file that memory cannot hold, scaled down: 80 MB with 56 MB to spare."""

import ctypes
import os
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

from vaeflow.cli import main

resource = pytest.importorskip("resource")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts private memory")

ROOM = 56 << 20
SHAPE = (1, 32, 32)
COUNT = 80 * 10**6 // 1024


@pytest.fixture
def large(tmp_path):
    """A sparse file, which takes little room on the disk and as much memory as any."""
    path = tmp_path / "large.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (COUNT, *SHAPE))
    array[::1000] = np.random.RandomState(0).randint(0, 256, array[::1000].shape)
    np.save(tmp_path / "small.npy", array[:100])
    return path


def train(path, run):
    words = f"train --dataset file --dataset.path {path} --encoder.hidden 4 --decoder.hidden 4 "
    words += "--latent 2 --epochs 1 --test-images 20 --test-samples 1 --batch-size 500 "
    words += "--no-tensorboard --run-dir"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), str(run)])
    return ended.value.code or 0


def private():
    """Return the bytes of this process's own memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))


def within_limits(path, folder):
    """Train in a child of this process that has little memory more than a small training needs."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 99
    try:
        assert train(path.with_name("small.npy"), folder / "small") == 0  # what it imports is there
        ctypes.CDLL(None).malloc_trim(0)  # what is free of the heap is room as well
        limit = private() + ROOM
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        code = train(path, folder / "large")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@linux
def test_a_file_beyond_the_memory_is_trained_on(large, tmp_path, capfd):
    assert within_limits(large, tmp_path) == 0
    told = capfd.readouterr().err
    assert "the training data take 61 MiB, more than half of the free memory" in told


@linux
def test_the_limit_is_too_low_for_the_whole(large, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("vaeflow.training.feed.fits", lambda nbytes, device: True)
    assert within_limits(large, tmp_path) != 0
    assert "allocate memory" in capfd.readouterr().err
