"""A plugin's author imports from four modules; import-linter keeps vaeflow's own imports."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from vaeflow.plugins.scaffold import TEMPLATE

ROOT = Path(__file__).parents[2]
OPEN = ("vaeflow.benchmark", "vaeflow.parts", "vaeflow.distributions", "vaeflow.testing")
FOR_USERS = ("vaeflow.pyro", "vaeflow.sklearn")  # which pages show


def sources():
    """Yield the name and the text of all code that an author writes, or copies."""
    for path in [*TEMPLATE.rglob("*.py"), *TEMPLATE.rglob("*.py.txt")]:
        yield path.relative_to(ROOT), path.read_text("utf-8")
    for path in (ROOT / "plugins").rglob("*.py"):
        yield path.relative_to(ROOT), path.read_text("utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        for i, code in enumerate(
            re.findall(r"^```(?:py|python)\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
        ):
            yield f"{path.relative_to(ROOT)}, block {i}", code


def imports(text):
    """Yield (module, name) of each import from vaeflow; the name is "" for `import module`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "vaeflow")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vaeflow":
            yield from ((node.module, a.name) for a in node.names)


@pytest.mark.parametrize(("where", "text"), [pytest.param(*s, id=str(s[0])) for s in sources()])
def test_authors_import_from_four_modules(where, text):
    allowed = {("vaeflow", "hookimpl")}
    if "tests" in Path(where).parts:
        allowed.add(("vaeflow.cli", "main"))  # the command `vaeflow`, without a new process
    if str(where).startswith("docs/"):
        allowed.add(("vaeflow", ""))  # the face, as a user imports it
        allowed |= {(module, name) for module, name in imports(text) if module in FOR_USERS}
    allowed |= {(module, name) for module in OPEN for name in import_module(module).__all__}
    assert not set(imports(text)) - allowed


def test_all_sources_of_authors_are_found():
    found = [str(where) for where, _ in sources()]
    for start in ("vaeflow/plugins/scaffold", "plugins/vaeflow-zuko", "docs/writing-a-plugin.md"):
        assert any(where.startswith(start) for where in found)
