"""The examples run from a folder of their own, and write what they say."""

import os
import subprocess
import sys

import pytest
from pages import ROOT


@pytest.fixture
def run_example(tmp_path):
    def run(name, *words):
        # As a user runs it, whose warnings are no errors.
        return subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), *words],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_wines_go_the_whole_way(run_example, tmp_path):
    done = run_example("wines.py", "out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "NLL",
        "178",
        "the",
        "cultivars",
        "predictions",
        "the",
    ]
    accuracy = int(next(line for line in lines if line.startswith("cultivars")).split()[4][:-1])
    assert accuracy >= 80  # a third would be chance
    assert "Warning" not in done.stderr
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {
        "wines.csv",
        "run",
        "codes.png",
        "filled.csv",
        "filled.spread.csv",
        "decoder.onnx",
    }
    again = run_example("wines.py", "out")
    assert again.returncode != 0  # nothing is overwritten
