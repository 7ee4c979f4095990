"""Command lines as a shell starts them: a reader that leaves, other encodings, a first Ctrl-C."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

import vaeflow.cli.progress  # what a command imports, once for all children
import vaeflow.runs.again  # noqa: F401
from vaeflow.cli import main
from vaeflow.cli.streams import in_ascii
from vaeflow.runs.directory import Run


@pytest.fixture
def words(tiny, grey_file, tmp_path):
    data = ["--dataset", "file", "--dataset.path", str(grey_file), "--no-tensorboard"]
    return ["train", *tiny, *data, "--epochs", "2", "--run-dir", str(tmp_path / "run")]


def into(reader, writer):
    """Let this process write to a pipe."""
    os.close(reader)
    for descriptor in (1, 2):
        os.dup2(writer, descriptor)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


@pytest.mark.parametrize("lines", [0, 1, 4])
def test_a_training_goes_on_when_its_reader_leaves(fork, words, tmp_path, lines, counted):
    """As in `vaeflow train … 2>&1 | head -n LINES`."""
    reader, writer = os.pipe()

    def work():
        into(reader, writer)
        main(words)

    child = fork(work)
    os.close(writer)
    with open(reader) as pipe:
        assert len([pipe.readline() for _ in range(lines)]) == lines
    assert child.end().status == 0
    run = Run(tmp_path / "run")
    assert run.status["state"] == "completed"
    assert [row["epoch"] for row in run.metrics] == [1, 2]
    counted("readers that leave", 1)


def test_a_full_disk_behind_standard_output_is_an_error_with_a_status(fork, words, tmp_path):
    def work():
        sys.stdout = open("/dev/full", "w")  # noqa: SIM115
        main(words)

    ended = fork(work).end()
    assert ended.status == 8
    assert "Error: the output cannot be written (No space left on device)" in ended.output
    assert "Traceback" not in ended.output


COMMANDS = """
--help
list
list posterior
train --print-config
train --help
resume --help
evaluate --help
benchmark --help
compare --help
diagnose --help
sample --help
reconstruct --help
list --help
info --help
plugins --help
info posterior planar
info posterior radial
info posterior iaf
info posterior spline
info objective iwae
info likelihood gaussian
info prior vamp
train --lr β
train --posterior.steps 3
evaluate {run} -k 3
diagnose {run} --skip ais --skip gaps
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_command_writes_to_a_stream_of_any_encoding(fork, run_copy, encoding, counted):
    """All in one process; what the encoding lacks is spelled."""
    lines = COMMANDS.format(run=shlex.quote(str(run_copy))).strip().splitlines()

    def work():
        for line in lines:
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                stream = open(descriptor, "w", encoding=encoding, closefd=False)  # noqa: SIM115
                setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                main(shlex.split(line))
            assert ended.value.code in (0, 2), line
        return True

    ended = fork(work).end()
    assert ended.value, ended.output
    assert "Traceback" not in ended.output
    if encoding == "ascii":
        assert ended.output.isascii()
        for told in ("KL(q||p)", "+/-", "<="):
            assert told in ended.output
    assert "\\u" not in ended.output
    counted(f"commands in {encoding}", len(lines))


def test_a_name_that_is_not_utf8_is_refused_in_a_sentence(cli, words, one_sentence, counted):
    wrong = os.fsdecode(b"/tmp/\xff")
    flags = ["--run-dir", "--data-root", "--config", "--dataset.path", "--plugin"]
    for flag in flags:
        done = cli(*words, flag, wrong)
        assert done.code == 2
        assert "its bytes are not UTF-8" in done.err
        one_sentence(in_ascii(done.err.strip()))
    counted("names that are not UTF-8", len(flags))


def test_data_below_a_folder_that_is_not_utf8_is_refused(cli, words, grey_file, tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "grey.npz").write_bytes(grey_file.read_bytes())
    before = os.getcwd()
    os.chdir(folder)
    try:
        done = cli(*words, "--dataset.path", "grey.npz")
    finally:
        os.chdir(before)
    assert done.code == 2
    assert "bytes that are not UTF-8" in done.err
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_the_first_moments_is_no_traceback(amount, counted):
    """The process is new: its imports are the point. The start of Python is not vaeflow's."""
    argv = [sys.executable, "-c", START]
    delays = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2]
    cases = list(itertools.product(delays, (signal.SIGINT, signal.SIGTERM)))
    chosen = cases[2 :: len(cases) // amount(2, 10)]
    for delay, number in chosen:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors
        assert process.returncode in (128 + number, -number, 0), (delay, number, errors)
    counted("signals in the first moments", len(chosen))


START = """
import sys
from vaeflow.__main__ import main
print("begun", flush=True)
sys.argv = ["vaeflow", "train", "--print-config"]
main()
"""
