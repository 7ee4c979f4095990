"""The code in README and docs runs, and their figures are those that a script measured."""

import inspect
import re
from pathlib import Path

import pytest

from vaeflow.cli import cli as cli_group
from vaeflow.cli import main
from vaeflow.plugins import discovery, hookspecs
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import BUILTIN, KINDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def first_command(page):
    lines = "".join(blocks(page, "sh")).splitlines()
    return next(line.split()[1:] for line in lines if line.startswith("vaeflow train"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page.name == "README.md":  # its last example loads the run that its first command makes
        with pytest.raises(SystemExit) as ended:
            main([*first_command(page), "--epochs", "1", "--no-tensorboard"])
        assert ended.value.code == 0
    namespace = {"__name__": "example"}
    for code in blocks(page, "python"):
        exec(compile(code, page.name, "exec"), namespace)  # our own page


def test_every_command_in_the_readme_is_understood():
    """Each `vaeflow` command line of the README parses: its command, flags and part names exist."""
    from click import Context
    from click.exceptions import Exit

    from vaeflow.cli import cli
    from vaeflow.cli.part_options import command_line_layer
    from vaeflow.config.files import read_recipe
    from vaeflow.config.layers import Layers
    from vaeflow.plugins.loading import load_plugins

    lines = [
        line.split("#")[0].replace("$ ", "").strip()
        for code in blocks(PAGES[0], "sh")
        for line in code.splitlines()
    ]
    commands = [line.split()[1:] for line in lines if line.startswith("vaeflow ")]
    assert len(commands) >= 8
    for name, *args in commands:
        command = cli.get_command(Context(cli), name)
        if "--help" in args:
            with pytest.raises(Exit):
                command.make_context(name, list(args))
            continue
        context = command.make_context(name, list(args))
        if name == "train":
            layers = Layers()
            if recipe := context.params.get("recipe"):
                layers.add(read_recipe(recipe), "recipe")
            layers.add(command_line_layer(context, context.params), "line")
            layers.resolve(load_plugins())


def test_tables_of_figures_are_copied_from_results():
    measured = "".join(p.read_text("utf-8") for p in (ROOT / "benchmarks/results").glob("*.md"))
    rows = re.findall(r"^\|.*±.*\|$", PAGES[0].read_text("utf-8"), re.M)
    assert rows
    for row in rows:
        assert row in measured, f"no result holds the row {row}"


def test_links_and_pictures_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def section(page, title):
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", text, re.M | re.S)[1]


@pytest.mark.parametrize("kind", [*KINDS, "package"])
def test_every_check_is_documented_by_its_own_words(kind):
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
    """tests/training/test_hooks.py calls each of them."""
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


def test_the_page_of_the_parts_names_each_of_them_and_no_other():
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
