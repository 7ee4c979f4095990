"""The plugins of the repository: after pip has installed a wheel, its parts work by name."""

import json
import re
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
# distribution -> requirements, one part, its options, and a line of its help.
PACKAGES = {
    "vaeflow-sylvester": (
        {"vaeflow"},
        "sylvester",
        {"steps": 2, "kind": "householder"},
        "--posterior.kind one of triangular | householder | orthogonal; default: householder",
    ),
    "vaeflow-zuko": (
        {"vaeflow", "zuko"},
        "zuko-nsf",
        {"steps": 1, "bins": 4},
        "--posterior.bins integer > 0; default: 8",
    ),
}
SMALL = "--encoder.hidden 16 --decoder.hidden 16 --latent 4 --epochs 1 --test-samples 1 "
SMALL += "--test-images 20"
QUICK = f"{SMALL} --image-every 0 --no-tensorboard"

packages = pytest.mark.parametrize("name", PACKAGES)


@pytest.fixture(scope="module")
def wheels(wheel):
    return {name: wheel(PLUGINS / name) for name in PACKAGES}


@pytest.fixture(scope="module")
def bare(environment):
    return environment()


@pytest.fixture(scope="module")
def installed(environment, wheels):
    made = environment()
    made.install(*wheels.values())
    return made


@pytest.fixture(scope="module")
def runs(installed, tmp_path_factory):
    """A run with each package's posterior."""
    paths = {}
    for name, (_, part, options, _) in PACKAGES.items():
        paths[name] = tmp_path_factory.mktemp("runs") / "run"
        chosen = " ".join(f"--posterior.{key} {value}" for key, value in options.items())
        words = f"train --posterior {part} {chosen} {QUICK} --run-dir"
        installed.vaeflow(*words.split(), paths[name])
    return paths


def test_every_plugin_of_the_repository_is_tested():
    found = {path.parent.name for path in PLUGINS.glob("*/pyproject.toml")}
    # The others offer no posterior; their own tests train with what they offer.
    others = {"vaeflow-datasets", "vaeflow-mlflow", "vaeflow-pyro", "vaeflow-wandb"}
    assert found == {*PACKAGES, *others}


def test_likelihoods_of_a_plugin_are_listed_once_it_is_installed(environment, wheel):
    made = environment()
    assert "pyro-beta-binomial" not in made.vaeflow("list", "likelihood")
    made.install(wheel(PLUGINS / "vaeflow-pyro"))
    assert "pyro-beta-binomial" in made.vaeflow("list", "likelihood")
    told = made.vaeflow("train", "--likelihood", "pyro-beta-binomial", "--help")
    assert "--likelihood.total-count" in told


def test_a_data_set_of_a_plugin_is_listed_once_it_is_installed(environment, wheel):
    made = environment()
    assert "huggingface" not in made.vaeflow("list", "dataset")
    made.install(wheel(PLUGINS / "vaeflow-datasets"))
    assert "huggingface" in made.vaeflow("list", "dataset")
    assert "--dataset.column" in made.vaeflow("train", "--dataset", "huggingface", "--help")


@packages
def test_the_wheel_holds_the_plugin_and_few_requirements(wheels, name):
    with ZipFile(wheels[name]) as archive:
        names = archive.namelist()
        (told,) = (path for path in names if path.endswith(".dist-info/METADATA"))
        about = message_from_bytes(archive.read(told))
    assert {path.split("/")[0].split("-")[0] for path in names} == {name.replace("-", "_")}
    assert any(path.endswith("LICENSE") for path in names)
    needs = about.get_all("Requires-Dist")  # no torch: vaeflow requires it
    assert {text.partition("<")[0].partition(">")[0] for text in needs} == PACKAGES[name][0]


@packages
def test_a_plugin_is_unknown_before_its_installation(bare, name):
    listed = bare.vaeflow("list", "posterior")
    assert "identity" in listed
    assert PACKAGES[name][1] not in listed


@packages
def test_the_installed_plugin_is_listed(installed, name):
    listed = installed.vaeflow("list", "posterior").splitlines()
    assert [PACKAGES[name][1], name] in [line.split()[:2] for line in listed]
    assert f"{name.replace('-', '_')}.hooks, installed" in installed.vaeflow("plugins")


@packages
def test_help_shows_types_defaults_and_meaning(installed, name):
    _, part, _, told = PACKAGES[name]
    text = installed.vaeflow("train", "--posterior", part, "--help")
    text = " ".join(text[text.index(f"Options of posterior {part}") :].split())
    option, _, about = told.partition(" ")
    _, _, mine = text.partition(f"{option} ")
    meaning, _, kind = mine.partition("--posterior.")[0].partition("[")
    assert kind.strip().startswith(about)
    assert len(meaning.split()) > 3


@packages
def test_a_run_records_the_distribution_of_its_parts(runs, name):
    _, part, options, _ = PACKAGES[name]
    project = tomllib.loads((PLUGINS / name / "pyproject.toml").read_text())["project"]
    config = tomllib.loads((runs[name] / "config.toml").read_text())
    assert config["posterior"].items() >= {"name": f"{name}/{part}", **options}.items()
    assert json.loads((runs[name] / "environment.json").read_text())["parts"]["posterior"] == {
        "name": f"{name}/{part}",
        "distribution": name,
        "version": project["version"],
    }
    assert json.loads((runs[name] / "status.json").read_text())["state"] == "completed"


@packages
def test_a_run_loads_with_its_plugin_or_names_it(runs, installed, bare, tmp_path, name):
    words = ("sample", runs[name], "-n", "1", "--out", tmp_path / "sample.npz")
    refused = bare.run("vaeflow", *words)
    assert refused.returncode == 6
    assert f"pip install {name}" in refused.stderr
    assert "Traceback" not in refused.stderr
    installed.vaeflow(*words)
    assert (tmp_path / "sample.npz").is_file()


@packages
def test_the_installed_plugin_passes_its_checks(installed, name):
    # Of zuko's flows the quickest: its own tests check them all.
    part = {"vaeflow-zuko": "zuko-maf"}.get(name, PACKAGES[name][1])
    told = installed.vaeflow("plugins", "check", f"{name}/{part}")
    assert re.search(r"\n\d+ verdicts: \d+ passed, \d+ not applicable\n$", told)
    assert "failed" not in told.splitlines()[-1]


@packages
def test_the_installed_plugin_trains_on_mnist(installed, mnist, tmp_path, name):
    _, part, options, _ = PACKAGES[name]
    chosen = " ".join(f"--posterior.{key} {value}" for key, value in options.items())
    data = f"--dataset mnist --data-root {mnist} --batch-size 200 --lr 0.003"
    nets = "--encoder.hidden 64 --decoder.hidden 64"
    words = f"train --posterior {part} {chosen} {data} {QUICK} {nets} --run-dir"
    installed.vaeflow(*words.split(), tmp_path / "run")
    (record,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    # After one epoch. The mean of each pixel alone gives -206 nats.
    assert json.loads(record)["validation/elbo"] > -206
