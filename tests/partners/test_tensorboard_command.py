"""`vaeflow tensorboard` with the real server: names of runs, the loopback address, the end."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from vaeflow.comparison.board import tensorboard
from vaeflow.errors import CheckpointError


def runs_of(url):
    """Return the names of the runs, of whose charts a run of vaeflow may have several."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url + "data/runs") as answer:
                if found := json.load(answer):
                    return {Path(name) for name in found}
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("TensorBoard shows no run")


def listening(port):
    """Return the addresses at which a port of this machine listens, as Linux writes them."""
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()]
    return {line[1].split(":")[0] for line in lines if line[1].endswith(f":{port:04X}")
            and line[3] == "0A"}  # fmt: skip


def tops(names):
    return {name.parts[0] for name in names}


def test_runs_are_called_by_their_directories(trained, tmp_path):
    with tensorboard(trained, port=0) as board:
        assert tops(runs_of(board.url)) == {trained.name}
        assert listening(board.port) == {"0100007F"}
    for name in ("a/first", "b/first", "b/second"):
        shutil.copytree(trained, tmp_path / name)
    each = [tmp_path / name for name in ("a/first", "b/first", "b/second")]
    with tensorboard(*each, port=0) as board:
        names = {name.as_posix() for name in runs_of(board.url)}
    assert {"a/first", "b/first", "second"} == {
        known for known in ("a/first", "b/first", "second", ".") for name in names
        if name == known or name.startswith(f"{known}/")
    }  # fmt: skip
    with tensorboard(tmp_path / "b", port=0) as board:
        assert tops(runs_of(board.url)) == {"first", "second"}


def test_a_taken_port_and_a_folder_without_runs(trained, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with tensorboard(trained, port=port) as board:
            assert board.port != port
            assert runs_of(board.url)
    assert board.process.poll() is not None
    with pytest.raises(CheckpointError, match="holds no run"):
        tensorboard(tmp_path)


def test_it_ends_with_the_python_that_started_it(trained):
    code = f"import vaeflow; print(vaeflow.tensorboard({str(trained)!r}, port=0).port)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not listening(int(done.stdout))


def test_ctrl_c_ends_the_command(trained):
    words = [sys.executable, "-m", "vaeflow", "tensorboard", trained, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("TensorBoard at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    port = int(line.split("/")[2].split(":")[1])
    assert not listening(port)
