"""The package of docs/commands-and-engines.md, built and installed as it stands there."""

import json
import re
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/commands-and-engines.md"


@pytest.fixture(scope="module")
def lab(wheel, tmp_path_factory):
    """The folder that holds the package as pip would leave it."""
    package = tmp_path_factory.mktemp("lab")
    blocks = re.findall(
        r"^```(?:py|toml)\n# (\S+)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
    )
    for path, text in [*blocks, ("vaeflow_lab/__init__.py", "")]:
        (package / path).parent.mkdir(exist_ok=True)
        (package / path).write_text(text, "utf-8")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel(package)) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(autouse=True)
def installed(lab, monkeypatch):
    everything = metadata.distributions
    monkeypatch.syspath_prepend(str(lab))
    monkeypatch.setattr(metadata, "distributions", lambda: everything(path=[str(lab)]))
    yield
    for name in [name for name in sys.modules if name.startswith("vaeflow_lab")]:
        del sys.modules[name]


def test_its_command_is_shown_and_runs(cli, trained, tmp_path):
    told = cli("--help").out.partition("Commands of plugins:\n")[2]
    assert told.startswith("  best  Name the run with the lowest NLL.\n")
    other = shutil.copytree(trained, tmp_path / "other")
    summary = json.loads((trained / "summary.json").read_text())
    better = summary | {"nll": summary["nll"] | {"mean": summary["nll"]["mean"] - 1}}
    (other / "summary.json").write_text(json.dumps(better))
    done = cli("best", trained, other)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{other} {better['nll']['mean']:.2f}\n"
    (other / "summary.json").unlink()
    done = cli("best", trained, other)
    assert done.code == 2
    assert f"{other} has no summary.json: give runs that are completed" in done.err


def test_its_engine_tries_twice(cli, tmp_path, monkeypatch):
    from vaeflow.benchmark import engines

    tried = []

    def launch(words, out, stop):  # every first training fails
        tried.append(words[0])
        return 5 if tried.count("train") % 2 and words[0] == "train" else 0

    monkeypatch.setattr(engines, "launch", launch)
    out = tmp_path / "grid"
    words = ("--posterior", "identity", "--seeds", 2, "--engine", "patient", "--out", out)
    done = cli("benchmark", *words)
    assert tried == ["train", "train", "evaluate"] * 2
    assert "identity-s0 done" in done.out
