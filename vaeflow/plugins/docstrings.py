"""The docstrings of parts that are not imported: importing one would import torch, for seconds."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

_HOPS = 5  # from a name to where it is defined


def docstring(target: str | type) -> str:
    """Return the docstring of a part, a class or "module:Class", whose source is read, not run.

    It is empty where the source does not tell it.
    """
    if isinstance(target, type):
        return inspect.getdoc(target) or ""
    module, _, name = target.partition(":")
    return _of_class(module, name, _HOPS)


def _of_class(module: str, name: str, hops: int) -> str:
    """Return the docstring of a class that a module defines or imports."""
    for node in _tree(module).body if hops else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or _assigned(module, node, hops - 1)
    if hops and (source := _imported(module, name)):
        package, _, own = source.rpartition(".")
        return _of_class(package, own, hops - 1)
    return ""


def _assigned(module: str, node: ast.ClassDef, hops: int) -> str:
    """Return the docstring that `__doc__ = Other.__doc__` gives a class."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__doc__":
            path, _, attribute = ast.unparse(statement.value).rpartition(".")
            owner, _, name = path.rpartition(".")
            if attribute == "__doc__":
                return _of_class(_imported(module, owner) or module, name, hops)
    return ""


def _imported(module: str, name: str) -> str:
    """Return the full name of what a module imports under a name, or an empty text."""
    for node in _tree(module).body:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if (alias.asname or alias.name) == name:
                source = _source(module, node) if isinstance(node, ast.ImportFrom) else ""
                return f"{source}.{alias.name}" if source else alias.name
    return ""


def _source(module: str, node: ast.ImportFrom) -> str:
    """Return the full name of the module that a `from … import` names."""
    if not node.level:
        return node.module or ""
    spec = _spec(module)
    up = node.level - (spec is not None and spec.submodule_search_locations is not None)
    package = ".".join(module.split(".")[: len(module.split(".")) - up])
    return f"{package}.{node.module}" if node.module else package


@cache
def _tree(module: str) -> ast.Module:
    """Return the syntax tree of a module, an empty one where it has no source."""
    spec = _spec(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ast.Module([], [])
    try:
        return ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _spec(module: str) -> ModuleSpec | None:
    """Find a module without importing the packages that hold it."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)
        for depth in range(1, len(inner) + 1):
            if spec is None:
                return None
            name = ".".join([top, *inner[:depth]])
            spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    except (ImportError, ValueError):
        return None
    return spec
