"""`vaeflow plugins`: what is installed, from its metadata alone."""

from __future__ import annotations

import sys


def test_without_plugins_it_says_how_to_get_one(cli, plugin):
    done = cli("plugins")
    assert (done.code, done.err) == (0, "")
    assert done.out == "No plugins are installed; pip install one, and its parts appear by name.\n"


def test_plugins_are_listed_and_not_imported(cli, plugin):
    plugin("vaeflow-b", "raise SystemExit(9)", version="2.0")
    plugin("vaeflow-a", "raise AssertionError", version="0.1")
    done = cli("plugins")
    assert (done.code, done.err) == (0, "")
    assert done.out == "vaeflow-a 0.1: vaeflow_a_plugin\nvaeflow-b 2.0: vaeflow_b_plugin\n"
    assert not {"vaeflow_a_plugin", "vaeflow_b_plugin"} & set(sys.modules)
