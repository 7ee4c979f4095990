"""Docstrings that are read from the source of parts, without running it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from vaeflow.plugins.docstrings import docstring
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS

PARTS = [part for kind in KINDS for part in load_plugins().registry.parts(kind)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_the_docstring_of_every_part_is_that_of_its_class(part):
    assert docstring(part.target) == inspect.getdoc(part.load())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package that must not be run."""
    home = tmp_path / "unrun"
    (home / "inner").mkdir(parents=True)
    stop = "raise SystemExit('it was run')\n"
    sources = {
        "__init__.py": "from .inner import Here as There",
        "inner/__init__.py": "from .deep import Here",
        "inner/deep.py": 'class Here:\n    """A docstring.\n\n    More.\n    """',
        "borrowed.py": (
            "import unrun.inner.deep as deep\nfrom . import inner\nfrom .inner.deep import Here\n"
            "class One:\n    __doc__ = deep.Here.__doc__\n"
            "class Two:\n    __doc__ = inner.Here.__doc__\n"
            "class Three:\n    __doc__ = Here.__doc__\n"
            "class Local:\n    __doc__ = One.__doc__\n"
            "class Bare:\n    pass\n"
            "class Odd:\n    __doc__ = str(1)\n"
        ),
        "circle.py": "from .circle import Round",
        "broken.py": "class Broken(:\n",
    }
    for name, source in sources.items():
        (home / name).write_text(stop + source)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        "unrun.inner.deep:Here",
        "unrun.inner:Here",
        "unrun:There",
        *(f"unrun.borrowed:{name}" for name in ("One", "Two", "Three", "Local")),
    ],
)
def test_names_are_followed_to_where_they_are_defined(package, target):
    assert docstring(target) == "A docstring.\n\nMore."


@pytest.mark.parametrize(
    "target",
    [
        "unrun.borrowed:Bare",
        "unrun.borrowed:Odd",
        "unrun.borrowed:Missing",
        "unrun.circle:Round",
        "unrun.broken:Broken",
        "unrun.nowhere:Class",
        "not_a_package.at_all:Class",
        "json:dumps",
        "math:Class",
        "..:Class",
        "",
    ],
)
def test_what_the_source_does_not_tell_is_empty(package, target):
    assert docstring(target) == ""


def test_a_class_tells_its_own():
    class Part:
        """Of its own."""

    assert docstring(Part) == "Of its own."


def test_a_list_imports_no_torch():
    code = (
        "import sys; from vaeflow.cli import cli\n"
        "try: cli(['list'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'identity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
