"""`vaeflow plugins --requirements`: a file for pip, with all that is pinned or said."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NONE = "from vaeflow import hookimpl\nraise AssertionError('imported')\n"


@pytest.fixture
def installed(plugin, here):
    """Three plugins, one of them editable, and a file."""
    folders = [plugin("vaeflow-a", NONE, version="0.1"), plugin("vaeflow-b", NONE, version="2.0.1")]
    (info,) = folders[1].glob("*.dist-info")
    told = {"url": "file:///home/me/b", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(told))
    with open(info / "entry_points.txt", "a") as f:
        f.write("second = vaeflow_b_plugin\n")
    folders.append(plugin("vaeflow-c", NONE))
    (info,) = folders[2].glob("*.dist-info")
    told = {"url": "file:///home/me/c.whl", "archive_info": {}}
    (info / "direct_url.json").write_text(json.dumps(told))
    (here / "mine.py").write_text("raise AssertionError")
    return folders


def test_plugins_are_pinned_and_the_rest_is_said(cli, installed, here, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DISABLE_PLUGINS", "vaeflow-c")
    done = cli("plugins", "--requirements", "--plugin", "mine.py")
    assert (done.code, done.err) == (0, "")
    sha256 = hashlib.sha256((here / "mine.py").read_bytes()).hexdigest()
    assert done.out.splitlines() == [
        "vaeflow-a==0.1",
        "# vaeflow-b is an editable install of /home/me/b, which may have changed",
        "vaeflow-b==2.0.1",
        "# vaeflow-c==1.0 is not loaded: $VAEFLOW_DISABLE_PLUGINS names it",
        f"# mine.py is a file, given by --plugin: SHA-256 {sha256}",
    ]


@pytest.mark.parametrize("words", [("plugins",), ("plugins", "list")])
def test_the_same_as_json(cli, installed, words):
    found = json.loads(cli(*words, "--requirements", "--json").out)
    assert [one["requirement"] for one in found] == [
        "vaeflow-a==0.1", "vaeflow-b==2.0.1", "vaeflow-c==1.0",
    ]  # fmt: skip
    assert [one["editable"] for one in found] == ["", "/home/me/b", ""]


def test_pip_takes_it(cli, installed, here):
    Path("requirements.txt").write_text(cli("plugins", "--requirements", "--plugin", "mine.py").out)
    words = "install --dry-run --no-deps --no-index --disable-pip-version-check -r requirements.txt"
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words.split()],
        env={**os.environ, "PYTHONPATH": ":".join(map(str, installed))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Requirement already satisfied") == 3


def test_no_plugin_is_no_line(cli, plugin):
    assert cli("plugins", "--requirements").out == ""
