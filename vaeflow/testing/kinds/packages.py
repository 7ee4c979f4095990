"""Checks of a distribution that brings plugins; each check takes the distribution's name."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from vaeflow.options import options_model
from vaeflow.plugins.discovery import GROUP
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS, Part
from vaeflow.testing.registered import register

_LOWER = {">=", ">", "==", "~=", "==="}
_UPPER = {"<=", "<", "==", "~=", "==="}


def _required(distribution: str, name: str) -> set[str] | None:
    """Return the version operators with which a distribution requires `name`; None if it does not.

    Requirements of extras do not count.
    """
    found = [
        {specifier.operator for specifier in needed.specifier}
        for needed in map(Requirement, metadata.requires(distribution) or [])
        if canonicalize_name(needed.name) == name
        and not (needed.marker and "extra" in str(needed.marker))
    ]
    return set().union(*found) if found else None


def _parts(distribution: str) -> Iterator[tuple[str, type]]:
    """Yield the parts of a distribution, each with its name in messages."""
    registry = load_plugins(quiet=True).registry
    parts: list[Part] = [part for kind in KINDS for part in registry.parts(kind)]
    for part in parts:
        if part.distribution == distribution:
            yield f"{part.kind} {part.name}", part.load()


@register("package")
def has_a_valid_version(distribution: str) -> None:
    """pip can order its version among others."""
    version = metadata.version(distribution)
    try:
        Version(version)
    except InvalidVersion:
        raise AssertionError(f"the version is {version!r}, not such as 0.1.0") from None


@register("package")
def requires_vaeflow_between_bounds(distribution: str) -> None:
    """It requires vaeflow from one version on and below a later one, which may break it."""
    operators = _required(distribution, "vaeflow")
    assert operators is not None, "it does not require vaeflow: add 'vaeflow>=0.1,<2'"
    assert operators & _LOWER, "it requires vaeflow without a lower bound: add one, such as >=0.1"
    assert operators & _UPPER, "it requires vaeflow without an upper bound: add one, such as <2"


@register("package")
def leaves_torch_to_the_user(distribution: str) -> None:
    """It puts no upper bound on torch, which must fit the user's device and other packages."""
    operators = _required(distribution, "torch") or set()
    assert not operators & _UPPER, (
        f"it requires torch with {', '.join(sorted(operators & _UPPER))}: leave a lower bound only"
    )


@register("package")
def names_its_parts_without_torch(distribution: str) -> None:
    """Its hook modules import no torch, so that listing parts and --help stay quick."""
    points = metadata.distribution(distribution).entry_points.select(group=GROUP)
    code = (
        "import importlib, json, sys; paths, modules = json.loads(sys.argv[1]);"
        "sys.path += [p for p in paths if p not in sys.path];"
        "any(importlib.import_module(m) is None for m in modules);"
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    told = json.dumps([sys.path, [point.module for point in points]])
    done = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True)
    assert done.returncode != 3, (
        "its hooks import torch: register a part by the string 'module:Class', in a module of "
        "its own"
    )
    assert done.returncode == 0, f"its hooks cannot be imported: {done.stderr.splitlines()[-1:]}"


@register("package")
def explains_every_part(distribution: str) -> None:
    """Every part has a docstring of its own, whose first sentence `vaeflow list` shows."""
    for what, part in _parts(distribution):
        assert (part.__doc__ or "").strip(), f"{what} has no docstring"


@register("package")
def explains_every_option(distribution: str) -> None:
    """Every option of every part has a type, and a meaning in the section "Options:"."""
    for what, part in _parts(distribution):
        parameters = inspect.signature(part).parameters
        for name, field in options_model(part).model_fields.items():
            typed = parameters[name].annotation is not inspect.Parameter.empty
            assert typed, f"option {name!r} of {what} has no type"
            assert field.description, (
                f"option {name!r} of {what} has no meaning: write one under 'Options:' in the "
                "docstring of its class"
            )
