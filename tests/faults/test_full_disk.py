"""A disk that is truly full: a small one of its own, which a child mounts for itself."""

import ctypes
import os
import sys

import pytest
from test_kills import digest

from vaeflow.cli import main
from vaeflow.runs.directory import Run
from vaeflow.training.checkpoints import CheckpointStore

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
PRIVATE = 0x4000 | 0x40000  # recursively


def mounted(folder, size):
    """Mount an empty disk of so many bytes, which this process alone sees; return whether."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS) and libc.unshare(NEW_MOUNTS | NEW_USER):
        return False
    folder.mkdir()
    return not (
        libc.mount(b"none", b"/", None, PRIVATE, None)
        or libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode())
    )


def fill(path):
    """Write until nothing more fits."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            return


def code_of(words):
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        return ended.code


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are Linux's")
def test_a_full_disk_ends_a_training_with_exit_8_and_it_goes_on_when_there_is_room(
    tmp_path, fork, tiny, grey_file, counted
):
    disk = tmp_path / "disk"
    words = [
        "train", *tiny, "--dataset", "file", "--dataset.path", grey_file, "--no-tensorboard",
        "--epochs", 4, "--checkpoint-seconds", 0, "--run-dir",
    ]  # fmt: skip

    def work():
        if not mounted(disk, 2 << 20):
            return None
        filler, real = disk / "filler", CheckpointStore.save
        fill(filler)
        before = code_of([*words, disk / "full"]), (disk / "full").exists()
        filler.unlink()

        def save(self, step, *given):
            if step == 6:
                fill(filler)
            return real(self, step, *given)

        CheckpointStore.save = save
        during = code_of([*words, disk / "run"]), Run(disk / "run").checkpoint().step
        CheckpointStore.save = real
        filler.unlink()
        after = code_of(["resume", disk / "run"])
        code_of([*words, disk / "whole"])
        ends = [digest(Run(disk / name).store) for name in ("run", "whole")]
        return before, during, after, ends[0] == ends[1]

    ended = fork(work).end()
    if ended.value is None and ended.status == 0:
        pytest.skip("no disk can be mounted here")
    assert ended.value == ((8, False), (8, 3), 0, True), ended.output
    told = [line for line in ended.output.splitlines() if "ENOSPC" in line or "no room" in line]
    assert len(told) == 2
    assert all("are needed" in line and "free)" in line for line in told)
    counted("disks that are full", 2)
