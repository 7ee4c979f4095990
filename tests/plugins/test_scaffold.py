"""`vaeflow plugins new`: the package installs, passes its own tests and trains."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from zipfile import ZipFile

import pytest

import vaeflow
from vaeflow.errors import ConfigError, StorageError
from vaeflow.plugins import scaffold
from vaeflow.plugins.registry import KINDS
from vaeflow.plugins.scaffold import TEMPLATE, render, write

ROOT = Path(vaeflow.__file__).parents[1]
kinds = pytest.mark.parametrize("kind", KINDS)


# ---- names and refusals -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["my-flow", "vaeflow-my-flow"])
def test_the_prefix_of_the_distribution_may_be_given(name, tmp_path):
    written = write(name, "posterior", tmp_path)
    package = tmp_path / "vaeflow-my-flow"
    assert sorted(written) == sorted(path for path in package.rglob("*") if path.is_file())
    assert {str(path.relative_to(package)) for path in written} == {
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "tests/test_contract.py",
        "tests/test_posterior.py",
        "vaeflow_my_flow/__init__.py",
        "vaeflow_my_flow/hooks.py",
        "vaeflow_my_flow/posterior.py",
        "vaeflow_my_flow/py.typed",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["vaeflow-my-flow"]


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("My-Flow", "posterior", "lower-case letters"),
        ("my_flow", "posterior", "lower-case letters"),
        ("3d", "posterior", "lower-case letters"),
        ("my-", "posterior", "lower-case letters"),
        ("my--flow", "posterior", "lower-case letters"),
        ("", "posterior", "lower-case letters"),
        ("vaeflow-", "posterior", "lower-case letters"),
        ("../flow", "posterior", "lower-case letters"),
        ("flow\n", "posterior", "lower-case letters"),
        ("é", "posterior", "lower-case letters"),
        ("a" * 31, "posterior", "up to 30"),
        ("lambda", "posterior", "Python's own"),
        ("none", "posterior", "Python's own"),
        ("vaeflow-class", "posterior", "Python's own"),
        ("vaeflow", "posterior", "vaeflow itself"),
        ("vaeflow-vaeflow", "posterior", "vaeflow itself"),
        ("planar", "posterior", "vaeflow's own posterior 'planar'"),
        ("vaeflow-digits", "dataset", "vaeflow's own dataset 'digits'"),
        ("flow", "posteriors", "did you mean 'posterior'?"),
    ],
)
def test_a_wrong_name_is_refused(name, kind, told, tmp_path, one_sentence):
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        write(name, kind, tmp_path)
    one_sentence(str(refused.value))
    assert not list(tmp_path.iterdir())


def test_a_built_in_name_of_another_kind_may_be_used(tmp_path):
    assert write("planar", "encoder", tmp_path)


@pytest.mark.parametrize("what", ["directory", "file", "dangling link"])
def test_nothing_is_overwritten(what, tmp_path, one_sentence, snapshot):
    target = tmp_path / "vaeflow-skew"
    if what == "directory":
        target.mkdir()
    elif what == "file":
        target.write_text("mine")
    else:
        target.symlink_to("nowhere")
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="already there") as refused:
        write("skew", "posterior", tmp_path)
    one_sentence(str(refused.value))
    assert snapshot(tmp_path) == before


def test_a_missing_destination_is_made(tmp_path):
    write("skew", "prior", tmp_path / "some" / "where")
    assert (tmp_path / "some" / "where" / "vaeflow-skew" / "pyproject.toml").is_file()


def test_a_destination_that_is_a_file_is_refused(tmp_path, one_sentence):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--dest") as refused:
        write("skew", "prior", tmp_path / "file")
    one_sentence(str(refused.value))


@pytest.mark.parametrize("call", ["write_text", "rename"])
def test_a_write_that_fails_leaves_nothing(call, tmp_path, monkeypatch, one_sentence):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, call, full)
    with pytest.raises(StorageError, match="No space left on device") as refused:
        write("skew", "prior", tmp_path)
    one_sentence(str(refused.value))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_the_package_is_as_readable_as_any_directory(tmp_path):
    write("skew", "prior", tmp_path)
    (tmp_path / "other").mkdir()
    mode = (tmp_path / "other").stat().st_mode
    assert (tmp_path / "vaeflow-skew").stat().st_mode == mode


# ---- the package --------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("name", ["a", "skew-2d", "a-name-of-exactly-thirty-chars"])
def test_the_package_is_clean_python(kind, name, tmp_path):
    write(name, kind, tmp_path)
    for command in ("check", "format --check"):
        words = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", tmp_path]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    for path in tmp_path.rglob("*.py"):
        ast.parse(path.read_text("utf-8"))


@kinds
def test_no_placeholder_is_left(kind):
    for path, text in render("skew", kind).items():
        assert not re.search(r"\bmy[a-z]+|mypart|mykind", f"{path} {text}", re.I), path


def test_a_name_like_a_placeholder_stays_itself():
    files = render("mykind", "prior")
    assert tomllib.loads(files[Path("pyproject.toml")])["project"]["name"] == "vaeflow-mykind"
    assert "class Mykind(Prior)" in files[Path("vaeflow_mykind", "prior.py")]


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("sinh-arcsinh", "posterior", "SinhArcsinhPosterior"),
        ("tensor", "posterior", "TensorPosterior"),
        ("laplace", "likelihood", "LaplaceLikelihood"),
        ("terms", "objective", "TermsObjective"),
        ("spline-2d", "posterior", "Spline2d"),
    ],
)
def test_the_class_hides_nothing_that_its_module_uses(name, kind, wanted):
    files = render(name, kind)
    module = files[Path(f"vaeflow_{name.replace('-', '_')}", f"{kind}.py")]
    assert f"class {wanted}(" in module
    assert any(f":{wanted}" in text for text in files.values())


@kinds
def test_the_metadata_names_the_plugin_and_its_requirements(kind):
    files = render("skew", kind)
    about = tomllib.loads(files[Path("pyproject.toml")])
    project = about["project"]
    assert project["name"] == "vaeflow-skew"
    assert len(project["description"]) > 20
    assert project["entry-points"] == {"vaeflow": {"skew": "vaeflow_skew.hooks"}}
    assert "vaeflow-plugin" in project["keywords"]
    minor = ".".join(vaeflow.__version__.split(".")[:2])
    (needs,) = project["dependencies"]  # no torch: vaeflow knows which it works with
    assert needs.startswith(f"vaeflow>={minor},<")
    licence = files[Path("LICENSE")]
    assert f"Copyright (c) {date.today().year} the authors of vaeflow-skew" in licence
    assert f"vaeflow_register_{kind}s" in files[Path("vaeflow_skew", "hooks.py")]


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("0.1.0", ">=0.1,<2"), ("0.12.3", ">=0.12,<2"), ("1.4.0", ">=1.4,<2"), ("2.0.1", ">=2.0,<3")],
)
def test_the_range_of_vaeflow_follows_from_the_version(version, wanted, monkeypatch):
    monkeypatch.setattr(scaffold, "__version__", version)
    assert f'"vaeflow{wanted}"' in render("skew", "prior")[Path("pyproject.toml")]


def test_the_wheel_of_vaeflow_holds_the_template(wheel):
    with ZipFile(wheel(ROOT)) as archive:
        held = {name for name in archive.namelist() if name.startswith("vaeflow/plugins/scaffold/")}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in TEMPLATE.parent.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted


def test_writing_needs_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from vaeflow.plugins.scaffold import write;"
        f"write('flow', 'posterior', Path({str(tmp_path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- from the scaffold to a trained model -------------------------------------------------------


def name_of(kind):
    return f"first-{kind}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package of each kind."""
    dest = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        write(name_of(kind), kind, dest)
    return {kind: dest / f"vaeflow-{name_of(kind)}" for kind in KINDS}


@pytest.fixture(scope="module")
def installed(packages, environment, wheel):
    """An environment in which all of them are installed."""
    made = environment()
    made.install(*(wheel(package) for package in packages.values()))
    return made


@kinds
def test_passes_its_own_tests(kind, packages, installed):
    done = installed.run("pytest", "-q", "-p", "no:cacheprovider", packages[kind])
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_passes_the_check_that_its_readme_names(packages, installed):
    readme = (packages["posterior"] / "README.md").read_text("utf-8")
    (command,) = re.findall(r"^ {4}vaeflow (plugins check .*)$", readme, re.M)
    assert "failed" not in installed.vaeflow(*command.split()).splitlines()[-1]


@kinds
def test_trains_as_its_readme_says(kind, packages, installed, tmp_path):
    readme = (packages[kind] / "README.md").read_text("utf-8")
    (command,) = re.findall(r"^ {4}vaeflow (train .*)$", readme, re.M)
    quick = "--epochs 1 --test-samples 1 --test-images 20 --image-every 0 --no-tensorboard"
    installed.vaeflow(*f"{command} {quick} --run-dir".split(), tmp_path / "run")
    resolved = tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))
    assert resolved[kind]["name"] == f"vaeflow-{name_of(kind)}/{name_of(kind)}"
