"""A real bash completes parts and their options, by the line of docs/terminal.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = """
{line}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_vaeflow_completion vaeflow "${{COMP_WORDS[COMP_CWORD]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "vaeflow train --posterior pl": ["planar"],
        "vaeflow train --posterior planar --posterior.st": ["--posterior.steps"],
        "vaeflow info prior no": ["normal"],
        "vaeflow evaluate ''": ["runs/first"],
    }.items(),
)
def test_bash_completes(words, expected, tmp_path):
    page = (ROOT / "docs/terminal.md").read_text("utf-8")
    (line,) = [cell for cell in page.split("`") if "bash_source" in cell]
    (tmp_path / "runs/first").mkdir(parents=True)
    (tmp_path / "runs/first/config.toml").touch()
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(line=line, words=words)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stdout.split(), done.stderr) == (expected, "")
