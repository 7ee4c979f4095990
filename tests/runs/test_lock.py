"""The lock of a run directory: one process writes, until it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from vaeflow.errors import RunLockedError, StorageError
from vaeflow.runs import lock
from vaeflow.runs.directory import Run
from vaeflow.runs.lock import held


@pytest.fixture
def run(tmp_path, plan):
    return Run.create(tmp_path / "run", plan, {"data_shape": (4, 4), "threads": 1})


# Another process that holds the lock, without the seconds of importing torch.
_HOLDER = """
import fcntl, sys
f = open(sys.argv[1], "a+")
fcntl.flock(f, fcntl.LOCK_EX)
f.truncate(0)
f.write("pid 4711 on elsewhere\\n")
f.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_lasts_until_its_process_ends(run, one_sentence):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(run.path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLockedError) as caught, run.locked():
            pytest.fail("the lock was given twice")
        one_sentence(str(caught.value))
        assert "another process (pid 4711 on elsewhere): wait for it or stop" in str(caught.value)
    finally:
        holder.kill()
        holder.communicate()
    with run.locked():
        assert (run.path / "lock").read_text().startswith(f"pid {os.getpid()} on ")


def test_a_refused_lock_is_a_storage_error(run, monkeypatch, one_sentence):
    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError, match=r"cannot be locked \(No locks available\)") as caught:
        run.locked().__enter__()
    one_sentence(str(caught.value))
    shutil.rmtree(run.path)
    with pytest.raises(StorageError, match=r"lock cannot be written \(ENOENT: No such file"):
        run.locked().__enter__()


def test_a_run_that_nobody_holds_and_that_says_running_was_killed(run):
    with run.locked():
        run.set_status("running", epoch=1)
        assert held(run.path)
        assert run.status == {"state": "running", "epoch": 1}
        assert held(run.path)  # a look takes nothing
    assert not held(run.path)
    assert run.status == {"state": "killed", "epoch": 1}
    run.set_status("completed")
    assert run.status == {"state": "completed"}


def test_a_look_at_a_lock_refuses_nobody_else(run, monkeypatch):
    with run.locked():
        pass
    look = os.open(run.path / "lock", os.O_RDWR)
    lock._take(look)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: os.close(look))
    with run.locked():
        assert held(run.path)
