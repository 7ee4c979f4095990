"""Imports go down the floors, as docs/architecture.md draws them."""

import ast
import re
from pathlib import Path

import vaeflow

PACKAGE = Path(vaeflow.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"


def floors():
    """Read the table of floors: | number | `module`, `module/` … | … |."""
    found = {}
    for row in re.findall(r"^\| (\d) \| (.*?) \|", ARCHITECTURE.read_text("utf-8"), re.M):
        for name in re.findall(r"`([\w/]+)`", row[1]):
            found[name.rstrip("/")] = int(row[0])
    return found


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            yield name, ast.parse(path.read_text("utf-8"))


def imported(tree):
    """Yield the vaeflow modules that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vaeflow"):
            module = node.module.removeprefix("vaeflow").lstrip(".")
            yield from [module] if module else [alias.name for alias in node.names]


def test_every_module_has_a_floor():
    tops = {name.split(".")[0] for name, _ in modules()}
    assert tops == set(floors())


def test_imports_go_down():
    heights = floors()
    wrong = []
    for name, tree in modules():
        own = name.split(".")[0]
        for target in imported(tree):
            top = target.split(".")[0]
            if top == own or top not in heights:  # within a family; names of the package itself
                continue
            if heights[top] > heights[own]:
                wrong.append(f"{name} (floor {heights[own]}) imports {target} ({heights[top]})")
    assert not wrong


def test_families_of_parts_know_nothing_of_each_other():
    families = {"encoders", "decoders", "likelihoods", "posteriors", "priors", "datasets"}
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        for target in imported(tree)
        if name.split(".")[0] in families
        and target.split(".")[0] in families
        and target.split(".")[0] != name.split(".")[0]
    ]
    assert not wrong


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
