"""`vaeflow list`: every part, its distribution, and the default of each kind."""

from __future__ import annotations

import re

import vaeflow
from vaeflow.cli.formulas import plain
from vaeflow.options import summary
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS


def names(shown):
    """Return the first words of the lines that are no sentences."""
    return [line.split()[0] for line in shown.splitlines() if not line.startswith("   ")]


def test_every_kind_is_listed_with_its_default(cli, plugin):
    done = cli("list")
    assert (done.code, done.err) == (0, "")
    headings = [line[:-1] for line in done.out.splitlines() if line.endswith(":")]
    assert headings == [*KINDS, "recipe"]
    version = vaeflow.__version__
    rows = done.out.splitlines()
    for name, notes in (
        ("digits", ", default"),
        ("mnist", ""),
        ("identity", ", default"),
        ("planar", ""),
        ("iaf", ""),
        ("gaussian", ""),
    ):
        assert [name, f"vaeflow {version}{notes}"] in [row.split(maxsplit=1) for row in rows]
    assert "  zoltowski-mnist" in rows
    assert done.out.count(f"vaeflow {version}, default") == len(KINDS)


def test_every_part_has_its_first_sentence_in_whole(cli, plugin, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shown = cli("list").out
    assert all(len(line) <= 60 for line in shown.splitlines())
    joined = " ".join(shown.split())
    registry = load_plugins().registry
    for part in (part for kind in KINDS for part in registry.parts(kind)):
        if part.distribution == "vaeflow":
            said = f"{part.name} vaeflow {part.version}"
            assert re.search(f"{said}(, default)? {re.escape(plain(summary(part.load())))}", joined)


def test_the_packages_stand_below_each_other(cli, plugin):
    def column(*words):
        rows = [row for row in cli("list", *words).out.splitlines() if row[2:3].strip()]
        (place,) = {row.index(" vaeflow ") for row in rows if " vaeflow " in row}
        return place

    # Wide enough for the longest name that is shown, and no wider.
    assert column() == column("likelihood") == 2 + len("discretized-logistic-mixture") + 1
    assert column("decoder") == 2 + len("gated-conv") + 1


def test_a_kind_lists_only_its_parts(cli, plugin):
    done = cli("list", "posterior")
    assert done.code == 0
    assert names(done.out) == [
        "posterior:",
        "full-gaussian",
        "householder",
        "iaf",
        "identity",
        "mixture",
        "planar",
        "radial",
        "realnvp",
        "spline",
    ]


def test_a_plugins_parts_carry_its_distribution(cli, plugin):
    code = """
    from vaeflow import hookimpl

    @hookimpl
    def vaeflow_register_posteriors(register):
        register("identity", "not.imported:Class")
    """
    plugin("vaeflow-other", code, version="3.1")
    rows = [line.split(maxsplit=1) for line in cli("list", "posterior").out.splitlines()]
    version = vaeflow.__version__
    assert ["vaeflow-other/identity", "vaeflow-other 3.1"] in rows
    assert ["identity", f"vaeflow {version}, default"] in rows


def test_a_part_whose_source_has_no_docstring_is_imported_for_it(cli, plugin):
    code = """
    from vaeflow import hookimpl
    from vaeflow.parts import Prior

    class Told(Prior):
        def forward(self, infer): ...

    Told.__doc__ = "Told at import, with :math:`\\\\hat u` (eq. 2). More."

    @hookimpl
    def vaeflow_register_priors(register):
        register("told", Told)
        register("gone", "not.imported:Class")
    """
    plugin("vaeflow-other", code, version="3.1")
    joined = " ".join(cli("list", "prior").out.split())
    assert "told vaeflow-other 3.1 Told at import, with û (eq. 2). vamp" in joined
    assert "gone vaeflow-other 3.1 prior 'gone' from vaeflow-other 3.1 cannot be imported" in joined


def test_a_failed_plugin_is_a_warning(cli, plugin):
    plugin("vaeflow-bad", "raise ImportError('gone')")
    done = cli("list")
    assert done.code == 0
    assert done.err == (
        "Warning: plugin vaeflow-bad 1.0 failed to load (ImportError: gone): "
        "`vaeflow plugins info vaeflow-bad` says where\n"
    )
    assert "planar" in done.out


def test_list_runs_twice_in_one_process(cli, plugin):
    # The command's module shares its name with Python's `list`.
    assert cli("list").out == cli("list").out
    assert cli("--help").code == 0
