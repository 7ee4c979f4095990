"""`vaeflow list`: every part, its distribution, and the default of each kind."""

from __future__ import annotations

import vaeflow
from vaeflow.plugins.registry import KINDS


def test_every_kind_is_listed_with_its_default(cli, plugin):
    done = cli("list")
    assert (done.code, done.err) == (0, "")
    headings = [line[:-1] for line in done.out.splitlines() if line.endswith(":")]
    assert headings == [*KINDS, "recipe"]
    version = vaeflow.__version__
    for row in (
        f"  digits           vaeflow {version}, default",
        f"  mnist            vaeflow {version}",
        f"  identity         vaeflow {version}, default",
        f"  planar           vaeflow {version}",
        f"  iaf              vaeflow {version}",
        f"  gaussian         vaeflow {version}",
        "  zoltowski-mnist",
    ):
        assert row in done.out.splitlines()
    assert done.out.count("default") == len(KINDS)


def test_a_kind_lists_only_its_parts(cli, plugin):
    done = cli("list", "posterior")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == [
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
    rows = [line.split(maxsplit=1) for line in cli("list", "posterior").out.splitlines()[1:]]
    version = vaeflow.__version__
    assert ["vaeflow-other/identity", "vaeflow-other 3.1"] in rows
    assert ["identity", f"vaeflow {version}, default"] in rows


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
