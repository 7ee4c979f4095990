"""A training on a file that memory cannot hold, scaled down: 80 MB with 56 MB to spare."""

import os
import subprocess
import sys

import numpy as np
import pytest

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


SCRIPT = """
import resource, sys
from pathlib import Path
from vaeflow.cli import main
from vaeflow.training import feed

small, large, folder, room, whole = sys.argv[1:]
words = "--encoder.hidden 4 --decoder.hidden 4 --latent 2 --epochs 1 --test-images 20"
words += " --test-samples 1 --batch-size 500 --no-tensorboard --run-dir"

def train(path, run):
    try:
        main(["train", "--dataset", "file", "--dataset.path", path, *words.split(), folder + run])
    except SystemExit as ended:
        return ended.code or 0

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))

if whole == "True":
    feed.fits = lambda nbytes, device: True
assert train(small, "/small") == 0  # what it imports is there
limit = private() + int(room)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
sys.exit(train(large, "/large"))
"""


def within_limits(path, folder, *, whole=False):
    """Train in a process that has little memory more than a small training needs.

    Arguments:
        whole: take the data for what fits.
    """
    words = (path.with_name("small.npy"), path, folder, ROOM, whole)
    # The heap of other tests keeps what is freed, which would be room beyond the limit.
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", SCRIPT, *map(str, words)]
    return subprocess.run(command, env=plain, capture_output=True, text=True)


@linux
def test_a_file_beyond_the_memory_is_trained_on(large, tmp_path):
    done = within_limits(large, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the training data take 61 MiB, more than half of the free memory" in done.stderr


@linux
def test_the_limit_is_too_low_for_the_whole(large, tmp_path):
    done = within_limits(large, tmp_path, whole=True)
    assert done.returncode != 0
    assert "allocate memory" in done.stderr
