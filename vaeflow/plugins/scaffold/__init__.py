"""A new plugin package, complete: it installs, passes its own tests and trains as it is written.

`template/` is such a package, with a part of every kind. Its names are placeholders that no prose
contains: `mypart` and its class `MyPart`, of kind `mykind`. A new package is a copy with one kind.
"""

from __future__ import annotations

import ast
import keyword
import re
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.plugins import builtins
from vaeflow.plugins.registry import BUILTIN, KINDS
from vaeflow.storage import writing
from vaeflow.version import __version__

TEMPLATE = Path(__file__).parent / "template"

# How the README trains with a new part, after `vaeflow train --KIND NAME`.
_OPTIONS = {
    "dataset": "--dataset.examples 2000",
    "encoder": "--encoder.depth 3",
    "posterior": "--posterior.steps 2",
    "prior": "--prior.sigma 1",
    "decoder": "--decoder.hidden 500",
    "likelihood": "--likelihood.scale 0.1 --binarization none",
    "objective": "--objective.samples 8 --objective.alpha 0.5",
}


def write(name: str, kind: str, dest: Path) -> list[Path]:
    """Write the package `vaeflow-NAME` with one part into `dest` and return its files.

    Raises:
        ConfigError: if the name or kind cannot be used, or the directory is already there.
        StorageError: if it cannot be written; nothing is left of it then.
    """
    name = _checked(name, kind)
    target = dest / f"vaeflow-{name}"
    if target.exists() or target.is_symlink():
        raise ConfigError(
            f"{target} is already there, and nothing is overwritten: choose another name, another "
            "--dest, or move it away"
        )
    files = render(name, kind)
    with writing(target, "make room or give another --dest"):
        dest.mkdir(parents=True, exist_ok=True)
        # The package appears whole or not at all: it is written elsewhere and renamed.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=dest) as aside:
            package = Path(aside, target.name)
            for path, text in files.items():
                (package / path).parent.mkdir(parents=True, exist_ok=True)
                (package / path).write_text(text, encoding="utf-8", newline="\n")
            package.rename(target)
    return [target / path for path in files]


def render(name: str, kind: str) -> dict[Path, str]:
    """Return the files of the package `vaeflow-NAME`: path within it -> text."""
    sources = {path: path.read_text("utf-8") for path in _sources(kind)}
    part = sources[TEMPLATE / "vaeflow_mypart" / f"{kind}.py"]
    words = {
        "vaeflow_mypart": f"vaeflow_{name.replace('-', '_')}",
        "mypart": name,
        "MyPart": _class_name(name, kind, "".join(sources.values())),
        "mykind": kind,
        "mysummary": (ast.get_docstring(ast.parse(part)) or "").splitlines()[0],
        "mycommand": f"vaeflow train --{kind} {name} {_OPTIONS[kind]}",
        "myvaeflow": f"vaeflow{_versions()}",
        "myyear": str(date.today().year),
    }
    placeholder = re.compile("|".join(words))  # one pass: a name may itself be like a placeholder

    def fill(text: str) -> str:
        return placeholder.sub(lambda found: words[found[0]], text)

    return {
        Path(fill(path.relative_to(TEMPLATE).as_posix()).removesuffix(".txt")): fill(text)
        for path, text in sources.items()
    }


def _sources(kind: str) -> Iterator[Path]:
    """Yield the template's files, without the files of other kinds.

    A file that a tool would act on, such as a test or a pyproject, ends in `.txt` in the template.
    """
    others = set(KINDS) - {kind}
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        if path.name.split(".")[0].removeprefix("test_") not in others:
            yield path


def _checked(name: str, kind: str) -> str:
    """Return the part's name, without the distribution's "vaeflow-".

    Raises:
        ConfigError: with value, expectation and cure.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"--kind {kind}: unknown kind{did_you_mean(kind, KINDS)}; give {', '.join(KINDS)}"
        )
    part = name.removeprefix(f"{BUILTIN}-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", part) or len(part) > 30:
        raise ConfigError(
            f"plugin name {name!r}: use up to 30 lower-case letters, digits and single hyphens, a "
            "letter first, as in 'my-flow'"
        )
    if keyword.iskeyword(part) or keyword.iskeyword(part.capitalize()):
        raise ConfigError(
            f"plugin name {name!r} is a word of Python's own: give one that can name a class"
        )
    own: set[str] = set()
    getattr(builtins, f"vaeflow_register_{kind}s")(lambda name, target: own.add(name))
    if part == BUILTIN or part in own:
        who = "vaeflow itself" if part == BUILTIN else f"vaeflow's own {kind} {part!r}"
        raise ConfigError(f"plugin name {name!r} would hide {who}: give another name")
    return part


def _class_name(name: str, kind: str, text: str) -> str:
    """Return the name in CamelCase; the kind is added if the template uses that name already."""
    camel = "".join(word.capitalize() for word in name.split("-"))
    return camel + kind.capitalize() if re.search(rf"\b{camel}\b", text) else camel


def _versions() -> str:
    """Return the versions of vaeflow to ask for: from this one's minor up to the next major."""
    major, minor = (int(number) for number in __version__.split(".")[:2])
    return f">={major}.{minor},<{max(major, 1) + 1}"
