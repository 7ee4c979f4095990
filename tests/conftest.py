"""What several test files share: the command line in-process, a small data file, a trained run."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The same examples in every run, and no verdict on how long this machine takes for one.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("fixed")


@dataclass(frozen=True)
class Outcome:
    """What a command line did: its exit code and what it wrote."""

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


# The smallest training that passes through everything.
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
    """Everything below a directory with its size and time, to see that nothing was touched."""

    def take(root: Path) -> dict[str, tuple[int, int]]:
        found = {}
        for path in sorted(root.rglob("*")):
            about = path.lstat()
            found[str(path.relative_to(root))] = (about.st_size, about.st_mtime_ns)
        return found

    return take


@pytest.fixture(scope="session")
def one_sentence() -> Callable[[str], None]:
    """Check that a message is one sentence on one line, which the reader sees as one error."""

    def check(message: str) -> None:
        assert message, "there is no message"
        assert "\n" not in message
        assert "Traceback" not in message
        assert not re.search(r"[a-z)][.!?]\s+[A-Z]", message), message

    return check


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a distribution with one plugin module, as pip would leave it on sys.path.

    Only the distributions made here are seen, whatever else is installed where the tests run.
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
