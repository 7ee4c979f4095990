"""Fixtures for several test files: the command line in this process, small data, a trained run."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

# The same examples in every run, and no time limit, since a busy machine would exceed it.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("fixed")


_FLUSH = os.fsync


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Wait for the disk in the tests of faults alone, as no other loses power; log as at first."""
    os.fsync = _FLUSH if "faults" in item.path.parts else lambda descriptor: None
    logging.getLogger("vaeflow").setLevel(logging.NOTSET)  # which a command line has set


@pytest.fixture(autouse=True)
def words_of_the_shell() -> Iterator[None]:
    """Read messages as they are written, with flags; tests/test_face.py reads them in Python."""
    from vaeflow.errors import in_shell

    with in_shell():
        yield


@dataclass(frozen=True)
class Outcome:
    """The result of a command line: its exit code and its output."""

    code: int | str | None
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run `vaeflow WORDS…` in this process: an interpreter with torch takes seconds to start."""
    from vaeflow.cli import main

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def run(*words: object, terminal: bool = False) -> Outcome:
        out, err = Terminal() if terminal else io.StringIO(), io.StringIO()
        levels = {name: logging.getLogger(name).level for name in ("root", "vaeflow")}
        code: int | str | None = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main([str(word) for word in words])
            except SystemExit as exit_:
                code = exit_.code
            finally:
                for name, level in levels.items():
                    logging.getLogger(name).setLevel(level)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


# The smallest training that takes every step of a run.
_TINY = "--encoder.hidden 8 --decoder.hidden 8 --latent 3 --epochs 1 --batch-size 10 --threads 1"


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    return [*_TINY.split(), "--test-samples", "3"]


@pytest.fixture(scope="session")
def grey_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 / 8 / 6 grey pictures of 4×4 in an .npz file with named splits."""
    rng = np.random.RandomState(0)
    splits = {"train": 24, "validation": 8, "test": 6}
    path = tmp_path_factory.mktemp("data") / "grey.npz"
    np.savez(path, **{name: rng.rand(n, 4, 4).astype(np.float32) for name, n in splits.items()})
    return path


@pytest.fixture(scope="session")
def trained(
    cli: Cli, tiny: list[str], grey_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run directory of two epochs, TensorBoard included. Read only: copy it to change it."""
    path = tmp_path_factory.mktemp("trained") / "run"
    done = cli(
        "train", *tiny, "--dataset", "file", "--dataset.path", grey_file, "--posterior", "planar",
        "--posterior.steps", 2, "--epochs", 2, "--run-dir", path,
    )  # fmt: skip
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 rows of a table: an id, columns of each kind with gaps, and a group without any."""
    rng = np.random.RandomState(1)
    z = rng.randn(80)
    kinds = {
        "age": [f"{value:.1f}" for value in 40 + 10 * z],
        "visits": [str(value) for value in rng.poisson(np.exp(1 + z / 2))],
        "smokes": np.where(z + rng.randn(80) > 0, "yes", "no"),
        "site": np.array(["north", "south", "west"])[rng.randint(3, size=80)],
    }
    gaps = {name: rng.rand(80) < 0.2 for name in kinds}
    path = tmp_path_factory.mktemp("data") / "people.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"id,{','.join(kinds)},group\n")
        for row in range(80):
            cells = ("" if gaps[name][row] else str(kinds[name][row]) for name in kinds)
            file.write(f"P{row:03},{','.join(cells)},{'ab'[row % 2]}\n")
    return path


@pytest.fixture(scope="session")
def people_run(
    cli: Cli, tiny: list[str], people: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run on that table, conditioned on the group. Read only."""
    path = tmp_path_factory.mktemp("people") / "run"
    done = cli(
        "train", *tiny, "--dataset", "table", "--dataset.path", people, "--likelihood", "columns",
        "--condition", "group", "--no-tensorboard", "--run-dir", path,
    )  # fmt: skip
    assert done.code == 0, done.err
    return path


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that a test may change."""
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Record size and time of each file and folder below a directory, to see changes."""

    def take(root: Path) -> dict[str, tuple[int, int]]:
        found = {}
        for path in sorted(root.rglob("*")):
            about = path.lstat()
            found[str(path.relative_to(root))] = (about.st_size, about.st_mtime_ns)
        return found

    return take


@pytest.fixture(scope="session")
def one_sentence() -> Callable[[str], None]:
    """Check that a message is one sentence on one line."""

    def check(message: str) -> None:
        assert message, "there is no message"
        assert "\n" not in message
        assert "Traceback" not in message
        assert not re.search(r"[a-z)][.!?]\s+[A-Z]", message), message

    return check


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a distribution with one plugin module, as pip would leave it on sys.path.

    vaeflow sees only these distributions, whatever else is installed.
    """
    folders: list[str] = []
    modules: list[str] = []
    everything = metadata.distributions

    def install(
        distribution: str, code: str, *, module: str = "", version: str = "1.0", point: str = "main"
    ) -> Path:
        folder = tmp_path / f"site{len(folders)}"
        module = module or distribution.replace("-", "_") + "_plugin"
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[vaeflow]\n{point} = {module}\n")
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        folders.append(str(folder))
        modules.append(module)
        return folder

    monkeypatch.setattr(metadata, "distributions", lambda: everything(path=folders))
    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a child process, without the variables that vaeflow reads."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("VAEFLOW_", "PYTHON"))}


class Environment:
    """A virtual environment with the packages of this one, except for vaeflow's plugins.

    It links to this one's packages, so it needs no download and a tenth of a second.
    """

    def __init__(self, path: Path) -> None:
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

    def run(self, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `python -m words…` here, away from the repository's root."""
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        return subprocess.run(
            [self.python, "-m", *map(str, words)],
            cwd=cwd or self.python.parent,
            # Small models gain nothing from threads.
            env={**clean, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    def vaeflow(self, *words: object, cwd: Path | None = None) -> str:
        """Run a command that must succeed and return what it prints."""
        done = self.run("vaeflow", *words, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, *wheels: Path) -> None:
        """Install wheels by pip, without their dependencies, which are present."""
        done = self.run("pip", "install", "--force-reinstall", "--no-deps", "--no-index", *wheels)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    """Make a new environment."""
    return lambda: Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Build a package's wheel."""

    def build(package: Path) -> Path:
        out = tmp_path_factory.mktemp("wheel")
        (path,) = WheelBuilder(str(package)).build(directory=str(out), versions=["standard"])
        return Path(path)

    return build


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The directory of the true MNIST files."""
    if "VAEFLOW_DATA" not in os.environ:
        pytest.skip("$VAEFLOW_DATA does not name the directory of the MNIST files")
    return Path(os.environ["VAEFLOW_DATA"])


@pytest.fixture
def linear_gaussian():
    """Return a model with a known posterior and known evidence."""
    from linear_gaussian import LinearGaussian

    return LinearGaussian()


@pytest.fixture(scope="module")
def world():
    """Return one such model for all tests of a module, which must not change it."""
    from linear_gaussian import LinearGaussian

    return LinearGaussian()
