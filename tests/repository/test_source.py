"""Habits of the source that no linter checks."""

import ast
from pathlib import Path

import vaeflow

PACKAGE = Path(vaeflow.__file__).parent


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            yield name, ast.parse(path.read_text("utf-8"))


def test_only_the_command_line_prints_and_exits():
    calls = [
        (name, node.func.id)
        for name, tree in modules()
        if not name.startswith("cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("print", "exit", "eval", "exec")
    ]
    assert not calls


def test_nothing_is_pickled():
    names = {
        (name, n)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for n in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
    }
    assert not {(m, n) for m, n in names if n in ("pickle", "cloudpickle", "joblib", "dill")}
    attributes = {
        (name, node.attr)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    }
    assert not {(m, a) for m, a in attributes if a in ("load", "save")}
