"""Two ranks under torchrun: one is stopped, killed or not finite, or torchrun itself is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch.distributed as dist
from runs_left import left

from vaeflow.runs.directory import Run

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)

# Tells the process of each rank; as it is looked at more often, a test takes seconds.
PLUGIN = """
import os
from pathlib import Path
from vaeflow import hookimpl
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.runtime import watch

watch.BEAT, watch.LOOKS = 0.2, 10
place = Path({place!r})
rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
(place / f"rank {{rank}} {{attempt}}").write_text(str(os.getpid()))

class Slow(Identity):
    \"\"\"Takes a while, so that a signal comes within an epoch.\"\"\"
    calls = 0

    def forward(self, h):
        Slow.calls += 1
        {fault}
        return super().forward(h)

@hookimpl
def vaeflow_register_posteriors(register):
    register("slow", Slow)
"""
SLOW = "import time; time.sleep(0.02)"


class Ranks:
    """Two ranks, and the torchrun that started them."""

    def __init__(self, words, place, fault=SLOW, options=()):
        self.place, self.run = place, place / "run"
        plugin = place / "slow.py"
        plugin.write_text(PLUGIN.format(place=str(place), fault=fault))
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *options]
        rest = ["--plugin", plugin, "--posterior", "slow", "--run-dir", self.run]
        argv = [sys.executable, *launch, "-m", "vaeflow", "train", *words, *map(str, rest)]
        with open(place / "errors", "w") as errors:
            self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=errors)

    def pid(self, rank, attempt=0):
        return int((self.place / f"rank {rank} {attempt}").read_text())

    def trains(self, epochs=2):
        """Wait until the run has so many epochs."""
        deadline = time.monotonic() + 90
        while len(Run(self.run).metrics) < epochs:
            assert time.monotonic() < deadline, self.errors
            assert self.process.poll() is None, self.errors
            time.sleep(0.05)
        return self

    def gone(self, seconds):
        """Tell whether both ranks are gone within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(alive(self.pid(rank)) for rank in range(2)):
                return True
            time.sleep(0.05)
        return False

    @property
    def errors(self):
        return (self.place / "errors").read_text()

    @property
    def told(self):
        """Return the errors that vaeflow told."""
        return [line for line in self.errors.splitlines() if line.startswith("Error: ")]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def ranks(tiny, grey_file, tmp_path):
    data = ["--dataset", "file", "--dataset.path", str(grey_file), "--no-tensorboard"]
    started = []

    def start(*more, **options):
        words = [*tiny, *data, "--checkpoint-seconds", "0", "--device", "cpu", *map(str, more)]
        started.append(Ranks(words, tmp_path, **options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        for path in each.place.glob("rank *"):
            if alive(int(path.read_text())):
                os.kill(int(path.read_text()), signal.SIGKILL)


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")


@needs_proc
def test_ranks_whose_torchrun_is_killed_save_and_end(ranks, counted):
    two = ranks("--epochs", 100000).trains()
    two.process.kill()
    assert two.gone(20), "the ranks train on"
    status = Run(two.run).status
    assert (status["state"], status["exit_code"]) == ("interrupted", 143), two.errors
    assert Run(two.run).store.latest().step == status["step"]
    counted("torchrun", 1)


@needs_proc
def test_without_the_watch_ranks_outlive_a_killed_torchrun(ranks, amount):
    if not amount(0, 1):
        pytest.skip("a mutant of the full suite")
    fault = f"watch._be_orphaned = lambda: None; {SLOW}"
    two = ranks("--epochs", 100000, fault=fault).trains()
    two.process.kill()
    assert not two.gone(5)


@needs_proc
@pytest.mark.parametrize(
    ("how", "rank"), [(signal.SIGSTOP, 0), (signal.SIGSTOP, 1), (signal.SIGKILL, 0)]
)
def test_a_rank_that_is_stopped_or_killed_is_named_by_the_other(ranks, amount, counted, how, rank):
    if not amount(0, 1):
        pytest.skip("in the full suite")
    two = ranks("--epochs", 100000).trains()
    os.kill(two.pid(rank), how)
    assert two.process.wait(30) == 1
    assert not any(map(alive, (two.pid(0), two.pid(1))))
    (told,) = two.told
    assert told.startswith(f"Error: rank {rank} failed: ")
    why = "no sign for 2 s" if how == signal.SIGSTOP else f"process {two.pid(rank)} is gone"
    assert why in told
    assert Run(two.run).status["state"] == ("failed" if rank else "killed")
    Run(two.run).checkpoint()
    counted("torchrun", 1)


@needs_proc
def test_a_restart_by_torchrun_ends_like_a_run_that_nobody_killed(ranks, amount, counted):
    if not amount(0, 1):
        pytest.skip("in the full suite")
    words, options = ("--epochs", 20, "--or-resume"), ("--max-restarts", "1")
    two = ranks(*words, options=options).trains()
    os.kill(two.pid(1), signal.SIGKILL)
    assert two.process.wait(90) == 0, two.errors
    assert two.pid(1, attempt=1) != two.pid(1)
    assert two.told == [
        f"Error: rank 1 failed: process {two.pid(1)} is gone without a word, "
        "killed or out of memory"
    ]
    killed = left(two.run)
    os.rename(two.run, two.place / "killed")
    whole = ranks(*words)
    assert whole.process.wait(90) == 0, whole.errors
    counted("torchrun", 1, lost=int(left(whole.run) != killed))


@needs_proc
def test_the_rank_that_is_not_finite_is_named(ranks, amount, counted):
    if not amount(0, 1):
        pytest.skip("in the full suite")
    fault = "h = h * float('nan') if rank == '1' and Slow.calls > 20 else h"
    two = ranks("--epochs", 100000, fault=fault)
    assert two.process.wait(90) == 1
    (told,) = two.told
    assert "rank 1" in told
    assert "not finite" in told
    assert Run(two.run).status["exit_code"] == 5
    counted("torchrun", 1)
