"""$VAEFLOW_TRACE_PLUGINS tells on stderr what plugins do, and which are left out."""

import re

import pytest

from vaeflow.plugins.loading import load_plugins
from vaeflow.training.observers.plugin_hooks import hooks_of

HOOKS = """
from vaeflow import hookimpl

@hookimpl
def vaeflow_register_posteriors(register):
    register("twist", "{}:Twist")

@hookimpl
def vaeflow_epoch_end(record):
    1 / record["epoch"]
"""


@pytest.fixture
def installed(plugin, monkeypatch):
    plugin("vaeflow-good", HOOKS.format("no_such_module"))
    plugin("vaeflow-off", "raise AssertionError", version="0.2")
    plugin("vaeflow-torn", "1 / 0", version="0.3")
    monkeypatch.setenv("VAEFLOW_DISABLE_PLUGINS", "vaeflow-off")


def without_times(text):
    return re.sub(r"took [\d.]+ ms", "took …", text).splitlines()


def test_each_plugin_and_each_hook_is_told(installed, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    plugins = load_plugins(quiet=True)
    assert without_times(capsys.readouterr().err) == [
        "Trace: plugin vaeflow-off 0.2: disabled ($VAEFLOW_DISABLE_PLUGINS names it)",
        "Trace: import of vaeflow_good_plugin took …",
        "Trace: vaeflow_register_posteriors of vaeflow-good 1.0 took …",
        "Trace: plugin vaeflow-good 1.0: ok (vaeflow_epoch_end, vaeflow_register_posteriors)",
        "Trace: import of vaeflow_torn_plugin took … and failed (ZeroDivisionError: division by "
        "zero)",
        "Trace: plugin vaeflow-torn 0.3: failed (ZeroDivisionError: division by zero)",
    ]
    (hooks,) = hooks_of(plugins, tmp_path, {})
    hooks.epoch({"epoch": 1}, None)
    with pytest.raises(ZeroDivisionError):
        hooks.epoch({"epoch": 0}, None)
    assert without_times(capsys.readouterr().err) == [
        "Trace: vaeflow_epoch_end of vaeflow-good 1.0 took …",
        "Trace: vaeflow_epoch_end of vaeflow-good 1.0 took … and failed (ZeroDivisionError: "
        "division by zero)",
    ]


def test_a_list_tells_which_plugins_are_left_out(installed, monkeypatch, cli):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    told = "Trace: plugin vaeflow-off 0.2: disabled ($VAEFLOW_DISABLE_PLUGINS names it)\n"
    assert cli("plugins").err == told


def test_help_tells_which_plugins_bring_no_commands(installed, monkeypatch, cli):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    monkeypatch.setattr("vaeflow.plugins.glance.naming", lambda hook: frozenset({"vaeflow-torn"}))
    told = cli("--help").err
    assert "vaeflow-good 1.0: disabled (for --help, as it brings no commands)" in told
    assert "vaeflow-off 0.2: disabled ($VAEFLOW_DISABLE_PLUGINS names it)" in told
    assert "import of vaeflow_torn_plugin" in told
    assert "$VAEFLOW_PLUGINS" not in told


def test_the_time_is_that_of_the_hook(plugin, monkeypatch, capsys):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    slow = "import time\nfrom vaeflow import hookimpl\n@hookimpl\ndef vaeflow_epoch_end(record):\n"
    plugin("vaeflow-slow", slow + "    time.sleep(0.05)\n")
    (hooks,) = hooks_of(load_plugins(), None, {})
    capsys.readouterr()
    hooks.epoch({}, None)
    took = float(re.search(r"took ([\d.]+) ms", capsys.readouterr().err)[1])
    assert took >= 50


def test_a_part_is_told_where_it_is_imported(installed, monkeypatch, cli):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    lines = without_times(cli("info", "posterior", "twist").err)
    assert any(
        line.startswith("Trace: import of posterior 'twist' from vaeflow-good 1.0 took … and fail")
        for line in lines
    )


@pytest.mark.parametrize("value", [None, "", "0"])
def test_nothing_is_told_unless_asked(installed, monkeypatch, capsys, value):
    if value is not None:
        monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", value)
    load_plugins(quiet=True)
    assert capsys.readouterr().err == ""
