"""Pages tell the truth: code runs, figures are measured, paths, names and links exist."""

import ast
import inspect
import re
import shlex
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from click import Context, Group
from click.exceptions import Exit
from pages import DOCS, ROOT, WITH_PARTNERS, blocks, run_python

from vaeflow.cli import _options_first
from vaeflow.cli import cli as cli_group
from vaeflow.cli.part_options import command_line_layer
from vaeflow.config.files import read_recipe
from vaeflow.config.layers import Layers
from vaeflow.plugins import discovery, hookspecs, scaffold
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import BUILTIN, KINDS

PAGES = [*DOCS, ROOT / "benchmarks/README.md"]


@pytest.mark.parametrize(
    "page", [p for p in DOCS if p.name not in WITH_PARTNERS], ids=lambda p: p.name
)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(page)


def commands(page):
    """Return the words of each `vaeflow` command of a page; a line that ends in \\ goes on."""
    for code in blocks(page, "sh"):
        for line in re.sub(r"\\\n\s*", "", code).splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["vaeflow"] and ">" not in words and "|" not in words:
                yield _options_first(words[1:])


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_every_command_is_understood(page):
    """Each command line parses: the command, its flags and the names of parts exist."""
    for words in commands(page):
        own = (
            "--plugin" in words or "cubic" in words
        )  # of a plugin that the page tells how to write
        parsed(cli_group, ["train", "--help"] if own else words)


def parsed(command, words):
    """Parse a command line as far as its parts and their options."""
    if isinstance(command, Group) and words and not words[0].startswith("-"):
        there = command.get_command(Context(command), words[0])
        assert there, f"{words[0]}: no such command"
        parsed(there, words[1:])
        return
    try:
        context = command.make_context(command.name, [*words])
    except Exit:  # of --help
        return
    if command.name == "train":
        layers = Layers()
        if recipe := context.params.get("recipe"):
            layers.add(read_recipe(recipe), "recipe")
        if config := context.params.get("config"):
            assert config.suffix == ".toml"
        layers.add(command_line_layer(context, context.params), "line")
        layers.resolve(load_plugins())


def test_tables_of_figures_are_copied_from_results():
    measured = "".join(p.read_text("utf-8") for p in (ROOT / "benchmarks/results").glob("*.md"))
    pages = (ROOT / name for name in ("README.md", "docs/speed.md", "docs/tutorial-2017.md"))
    found = [re.findall(r"^\|.*±.*\|$", page.read_text("utf-8"), re.M) for page in pages]
    assert all(found[:1] + found[2:])
    for row in (row for rows in found for row in rows):
        assert row in measured, f"no result holds the row {row}"


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text("utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text("utf-8")):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}#{anchor}"


def spans(page):
    """Return the texts of inline code; a backslash only keeps a table's | apart."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    return [span.replace("\\", "") for span in re.findall(r"`([^`\n]+)`", text)]


def paths(page):
    """Return the inline code that names a file or a folder, of vaeflow or of the scaffold."""
    folders = {p.name for top in (ROOT, ROOT / "vaeflow") for p in top.iterdir() if p.is_dir()}
    return {
        span
        for span in spans(page)
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*(/|\.py)", span)
        and (span.endswith(".py") or span.split("/")[0] in folders)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_paths_exist(page):
    homes = [ROOT, ROOT / "vaeflow"]
    if page.parent.name == "benchmarks":
        homes = [page.parent, page.parent / "shared"]
    written = scaffold.render("cubic", "posterior") if "plugin" in page.name else ()
    for path in paths(page):
        there = any((home / path).exists() for home in homes) or Path(path) in written
        assert there, f"{page.name} names {path}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dotted_names_exist(page):
    for name in re.findall(r"(?<![\w./-])vaeflow(?:\.\w+)+", page.read_text("utf-8")):
        found, *rest = "vaeflow", *name.split(".")[1:]
        there = import_module(found)
        for word in rest:
            if not hasattr(there, word):  # perhaps a module that nobody has imported yet
                there = import_module(f"{there.__name__}.{word}")
            else:
                there = getattr(there, word)


@cache
def members():
    """Return the names that the classes of each name in vaeflow give themselves, or inherit."""
    own, bases = {}, {}
    for path in (ROOT / "vaeflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            inside = [n for n in ast.walk(node) if isinstance(n, ast.Attribute)]
            names = {n.attr for n in inside if ast.unparse(n.value) == "self"}
            names |= {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
            names |= {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            own.setdefault(node.name, set()).update(names)
            bases.setdefault(node.name, set()).update(ast.unparse(base) for base in node.bases)
    for name, parents in bases.items():
        own[name] |= set().union(*(own.get(parent, ()) for parent in parents))
    return own


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_members_of_classes_exist(page):
    for span in spans(page):
        if match := re.match(r"([A-Z]\w+)\.(\w+)", span):
            name, member = match.groups()
            assert member in members().get(name, ()), f"{page.name} names {name}.{member}"


def test_the_page_lists_the_floors_of_the_linter():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| \d+ \| (.*?) \|", page, re.M)
    told = [set(re.findall(r"`(\w+)/?`", row)) for row in rows]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (
        c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"
    )
    assert told == [set(layer.split(" | ")) for layer in reversed(contract["layers"])]


def section(page, title):
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", text, re.M | re.S)[1]


@pytest.mark.parametrize("kind", [*KINDS, "package"])
def test_every_check_is_documented_by_its_meaning(kind):
    from vaeflow.testing import checks

    def row(check):
        meaning = check.meaning.replace("|", r"\|").replace("*", r"\*")
        return f"| `{check.name}` | {meaning} |"

    rows = re.findall(r"^\| `.*\|$", section("contracts.md", kind), re.M)
    assert rows == [row(check) for check in checks(kind)]


def test_every_kind_of_part_is_documented():
    rows = re.findall(
        r"^\| (\w+) \| `vaeflow\.", (ROOT / "docs/contracts.md").read_text("utf-8"), re.M
    )
    assert tuple(rows) == KINDS


def test_every_hook_is_documented_with_its_arguments():
    """tests/training/observers/test_plugin_hooks.py calls each of them."""
    text = (ROOT / "docs/hooks.md").read_text("utf-8")
    documented = re.findall(r"^\| `(vaeflow_\w+\(.*?\))` \|", text, re.M)
    specified = [
        f"{name}({', '.join(inspect.signature(hook).parameters)})"
        for name, hook in vars(hookspecs).items()
        if name.startswith("vaeflow_")
    ]
    assert sorted(documented) == sorted(specified)


def test_every_state_and_variable_of_plugins_is_documented():
    text = (ROOT / "docs/hooks.md").read_text("utf-8")
    for word in (f"${discovery.ALLOW}", f"${discovery.DISABLE}", "*ok*", "*failed*"):
        assert word in text
    options = [o for p in cli_group.params for o in p.opts if "plugin" in o]
    assert len(options) == 3
    for option in options:
        assert f"`{option}" in text


def test_the_page_of_the_parts_lists_the_built_in_parts():
    page = (ROOT / "docs/parts.md").read_text("utf-8")
    titles = {
        "Posteriors": {"posterior"},
        "Priors": {"prior"},
        "Likelihoods": {"likelihood"},
        "Objectives": {"objective"},
        "Encoders and decoders": {"encoder", "decoder"},
        "Data sets": {"dataset"},
    }
    registry = load_plugins(quiet=True).registry
    for title, kinds in titles.items():
        section = page.split(f"## {title}\n")[1].split("\n## ")[0]
        cells = re.findall(r"^\| (`.*?) \|", section, re.M)
        told = sorted(name for cell in cells for name in re.findall(r"`([\w-]+)`", cell))
        for kind in kinds:
            known = [p.name for p in registry.parts(kind) if p.distribution == BUILTIN]
            assert told == sorted(known), title
