"""A plugin is a pip package: to install its wheel is all that it takes."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from email import message_from_bytes
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

PLUGIN = Path(__file__).parents[1] / "plugins" / "vaeflow-sylvester"


class Environment:
    """A virtual environment that holds what this one does, except for vaeflow's plugins.

    It is made of links into this one, so that it costs no download and a tenth of a second. A
    plugin that is installed here, for its own tests, is not there.
    """

    def __init__(self, path):
        venv.create(path, with_pip=False, symlinks=True)
        inside = {"base": str(path), "platbase": str(path)}
        self.python = Path(sysconfig.get_path("scripts", "venv", inside), "python")
        site = Path(sysconfig.get_path("purelib", "venv", inside))
        left_out = {"__pycache__"}
        for dist in metadata.distributions():
            if dist.entry_points.select(group="vaeflow"):
                left_out |= {file.parts[0] for file in dist.files or ()}
        for kind in ("purelib", "platlib"):
            for entry in Path(sysconfig.get_path(kind)).iterdir():
                link = site / entry.name
                if entry.name not in left_out and not link.is_symlink():
                    link.symlink_to(entry)

    def run(self, *words):
        """Run `python -m words…` here, away from the repository's root."""
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        return subprocess.run(
            [self.python, "-m", *map(str, words)],
            cwd=self.python.parent,
            # The models are small: threads would only wait for each other.
            env={**clean, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    def vaeflow(self, *words):
        """Run a command that must succeed and return what it prints."""
        done = self.run("vaeflow", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, PLUGIN]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
    environment = Environment(tmp_path_factory.mktemp("with"))
    done = environment.run("pip", "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture(scope="module")
def run_dir(installed, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    small = "--posterior.steps 2 --encoder.hidden 16 --decoder.hidden 16 --epochs 1"
    quick = "--test-samples 1 --image-every 0 --no-tensorboard"
    words = f"train --posterior sylvester {small} {quick} --run-dir".split()
    installed.vaeflow(*words, path)
    return path


def test_the_wheel_holds_the_plugin_and_asks_for_vaeflow_alone(wheel):
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (told,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        about = message_from_bytes(archive.read(told))
    assert {name.split("/")[0].split("-")[0] for name in names} == {"vaeflow_sylvester"}
    assert any(name.endswith("LICENSE") for name in names)
    (needs,) = about.get_all("Requires-Dist")  # no torch: vaeflow knows which it works with
    assert needs.startswith("vaeflow<2")


def test_the_plugin_is_absent_before(without):
    listed = without.vaeflow("list", "posterior")
    assert "identity" in listed
    assert "sylvester" not in listed


def test_the_installed_plugin_is_listed(installed):
    assert ["sylvester", "vaeflow-sylvester"] in [
        line.split()[:2] for line in installed.vaeflow("list", "posterior").splitlines()
    ]
    assert "vaeflow_sylvester.hooks" in installed.vaeflow("plugins")


def test_help_shows_types_defaults_and_meaning(installed):
    told = installed.vaeflow("train", "--posterior", "sylvester", "--help")
    told = " ".join(told[told.index("Options of posterior sylvester") :].split())
    for option, kind, default, meaning in (
        ("kind", "one of triangular | householder | orthogonal", "householder", "what Q is"),
        ("steps", "integer ≥ 0", "4", "number of Sylvester maps"),
        ("vectors", "integer > 0", "8", "columns of an orthogonal Q"),
        ("reflections", "integer > 0", "8", "number of reflections"),
    ):
        _, _, mine = told.partition(f"--posterior.{option} ")
        mine = mine.partition("--posterior.")[0]
        assert meaning in mine
        assert f"[{kind}; default: {default}]" in mine


def test_a_run_records_who_brought_its_parts(run_dir):
    version = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["version"]
    config = tomllib.loads((run_dir / "config.toml").read_text())
    assert config["posterior"]["name"] == "vaeflow-sylvester/sylvester"
    assert config["posterior"]["steps"] == 2
    assert config["posterior"]["kind"] == "householder"
    assert json.loads((run_dir / "environment.json").read_text())["parts"]["posterior"] == {
        "name": "vaeflow-sylvester/sylvester",
        "distribution": "vaeflow-sylvester",
        "version": version,
    }
    assert json.loads((run_dir / "status.json").read_text())["state"] == "completed"


def test_a_run_loads_where_the_plugin_is_and_names_it_where_it_is_not(
    run_dir, installed, without, tmp_path
):
    words = ("sample", run_dir, "-n", "1", "--out", tmp_path / "sample.npz")
    refused = without.run("vaeflow", *words)
    assert refused.returncode == 6
    assert "pip install vaeflow-sylvester" in refused.stderr
    assert "Traceback" not in refused.stderr
    installed.vaeflow(*words)
    assert (tmp_path / "sample.npz").is_file()
