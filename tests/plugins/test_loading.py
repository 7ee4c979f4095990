"""A plugin costs only itself, and nothing is imported before it is used."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from vaeflow.errors import ConfigError, PluginError
from vaeflow.plugins.discovery import find_plugins
from vaeflow.plugins.loading import load_plugins

GOOD = """
from vaeflow import hookimpl

@hookimpl
def vaeflow_register_posteriors(register):
    register("twist", "twist_parts:Twist")
"""


def error_of(distribution: str) -> str:
    return next(p.reason for p in load_plugins().found if p.distribution == distribution)


def names(kind: str) -> list[str]:
    return [p.qualified for p in load_plugins().registry.parts(kind)]


def test_the_built_in_parts_need_no_plugin(plugin):
    loaded = load_plugins()
    assert loaded.found == []
    assert loaded.require("posterior", "planar").qualified == "vaeflow/planar"


def test_a_plugin_brings_its_parts(plugin):
    plugin("vaeflow-twist", GOOD, version="2.5")
    loaded = load_plugins()
    twist = loaded.require("posterior", "twist")
    assert (twist.qualified, twist.version) == ("vaeflow-twist/twist", "2.5")
    assert loaded.found[0].state == "ok"
    assert loaded.found[0].parts == [twist]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        (GOOD + "\nraise RuntimeError('late')", "RuntimeError: late"),
    ],
)
def test_a_plugin_that_fails_to_import_costs_only_itself(plugin, code, told):
    plugin("vaeflow-bad", code)
    plugin("vaeflow-twist", GOOD)
    loaded = load_plugins()
    bad, twist = loaded.found
    assert told in bad.reason
    assert "\n" not in bad.reason
    assert "Traceback" in bad.traceback
    assert (bad.state, bad.parts) == ("failed", [])
    assert twist.state == "ok"
    assert loaded.require("posterior", "twist").distribution == "vaeflow-twist"
    assert loaded.require("posterior", "planar").distribution == "vaeflow"


@pytest.mark.parametrize("before", [False, True])
def test_an_import_does_not_decide_whether_torch_checks_arguments(plugin, caplog, before):
    """Importing Pyro switches the check of distributions on, importing zuko off."""
    from torch.distributions import Distribution

    kept = Distribution._validate_args
    code = "import torch.distributions as d\nd.Distribution.set_default_validate_args({})"
    plugin("vaeflow-twist", code.format(not before) + GOOD)
    try:
        Distribution.set_default_validate_args(before)
        load_plugins()
        assert Distribution._validate_args == before
        assert not caplog.records
    finally:
        Distribution.set_default_validate_args(kept)


def test_an_interrupt_during_an_import_is_not_blamed_on_the_plugin(plugin):
    plugin("vaeflow-slow", "import signal\nsignal.raise_signal(signal.SIGINT)")
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        # misspelt, so that it would never be called
        ("def vaeflow_register_posterior(register): pass", "vaeflow_register_posterior"),
        ("def vaeflow_epoch_ends(run_dir): pass", "vaeflow_epoch_ends"),
        # an argument that the hook does not have
        ("def vaeflow_epoch_end(run_dir, metrics): pass", "metrics"),
        # names and targets that nobody could type or import
        ("def vaeflow_register_priors(register): register('My Prior', 'a:B')", "My Prior"),
        ("def vaeflow_register_priors(register): register('UP', 'a:B')", "'UP'"),
        ("def vaeflow_register_priors(register): register('', 'a:B')", "''"),
        ("def vaeflow_register_priors(register): register(3, 'a:B')", "3"),
        ("def vaeflow_register_priors(register): register('up', 'a.B')", "'a.B'"),
        ("def vaeflow_register_priors(register): 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_hook_that_is_wrong_is_reported(plugin, code, told):
    plugin("vaeflow-bad", f"from vaeflow import hookimpl\n@hookimpl\n{code}\n")
    assert told in error_of("vaeflow-bad")
    assert "\n" not in error_of("vaeflow-bad")
    assert "vaeflow/normal" in names("prior")
    assert all(name.startswith("vaeflow/") for name in names("prior"))


@pytest.mark.parametrize(
    "end",
    [
        "register('b', 'x:B')",  # a second time
        "raise RuntimeError",
        "register('not a name', 'x:C')",
    ],
)
def test_a_plugin_registers_everything_or_nothing(plugin, end):
    plugin(
        "vaeflow-half",
        f"""
        from vaeflow import hookimpl

        @hookimpl
        def vaeflow_register_encoders(register):
            register("early", "x:A")

        @hookimpl
        def vaeflow_register_posteriors(register):
            register("a", "x:A")
            register("b", "x:B")
            {end}

        @hookimpl
        def vaeflow_train_start(run_dir, config):
            raise AssertionError("a hook of a plugin that failed was called")
        """,
    )
    loaded = load_plugins()
    assert loaded.found[0].state == "failed"
    for kind in ("encoder", "posterior"):
        assert {p.distribution for p in loaded.registry.parts(kind)} == {"vaeflow"}
    assert loaded.hooks.hook.vaeflow_train_start(run_dir=None, config={}) == []


def test_a_wrong_signature_unregisters_the_hooks_before_it(plugin):
    plugin(
        "vaeflow-half",
        """
        from vaeflow import hookimpl

        @hookimpl
        def vaeflow_epoch_end(record):
            raise AssertionError("a hook of a plugin that failed was called")

        @hookimpl
        def vaeflow_train_end(no_such_argument):
            pass
        """,
    )
    loaded = load_plugins()
    assert loaded.found[0].state == "failed"
    told = {"run_dir": None, "status": "completed", "summary": {}}
    assert loaded.hooks.hook.vaeflow_train_end(**told) == []
    assert loaded.hooks.hook.vaeflow_epoch_end(run_dir=None, record={}) == []


def test_two_distributions_with_one_entry_point_name_both_load(plugin):
    # pluggy's own loader drops the second silently.
    plugin("vaeflow-a", GOOD, point="flows")
    plugin("vaeflow-b", GOOD, point="flows")
    loaded = load_plugins()
    assert [p.state for p in loaded.found] == ["ok", "ok"]
    with pytest.raises(ConfigError, match="write vaeflow-a/twist or vaeflow-b/twist"):
        loaded.require("posterior", "twist")


def test_a_distribution_found_twice_on_the_path_counts_once(plugin):
    plugin("vaeflow-twist", GOOD, version="1.0")
    plugin("vaeflow-twist", GOOD, version="2.0")
    loaded = load_plugins()
    assert [(p.state, p.version) for p in loaded.found] == [("ok", "1.0")]


@pytest.mark.parametrize(
    ("file", "content"),
    [("METADATA", ""), ("entry_points.txt", "[vaeflow]\nno equals sign\n")],
)
def test_the_remains_of_a_broken_installation_cost_nothing(plugin, file, content):
    folder = plugin("vaeflow-gone", GOOD)
    (folder / "vaeflow_gone-1.0.dist-info" / file).write_text(content)
    plugin("vaeflow-twist", GOOD)
    assert [p.distribution for p in load_plugins().found] == ["vaeflow-twist"]


def test_an_unknown_name_mentions_the_plugin_that_failed(plugin, one_sentence):
    plugin("vaeflow-bad", "import no_such_module", version="0.3")
    with pytest.raises(ConfigError) as caught:
        load_plugins().require("posterior", "twist")
    message = str(caught.value)
    one_sentence(message)
    assert "--posterior twist: unknown posterior" in message
    assert "should a plugin bring it, vaeflow-bad 0.3 failed to load (ModuleNotFound" in message


def test_asking_for_a_part_of_a_failed_plugin_is_an_error(plugin, one_sentence):
    plugin("vaeflow-bad", "import no_such_module", version="0.3")
    with pytest.raises(PluginError) as caught:
        load_plugins().require("posterior", "vaeflow-bad/twist")
    one_sentence(str(caught.value))
    assert "vaeflow-bad 0.3 failed to load (ModuleNotFoundError" in str(caught.value)
    assert "`vaeflow plugins info vaeflow-bad` says where" in str(caught.value)


def test_finding_plugins_imports_nothing(plugin):
    plugin("vaeflow-twist", "raise AssertionError('imported')", version="2.5")
    (found,) = find_plugins()
    assert (found.distribution, found.version, found.target, found.state) == (
        "vaeflow-twist",
        "2.5",
        "vaeflow_twist_plugin",
        "installed",
    )
    assert "vaeflow_twist_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("needs", "version", "fits"),
    [
        ("vaeflow>=0.1,<2", "0.1.0", True),
        ("vaeflow>=0.1,<2", "0.2.0.dev0", True),  # a developer of vaeflow has no release of it
        ("vaeflow>=0.1,<2", "2.0", False),
        ("vaeflow<0.1", "0.1.0", False),
        ("vaeflow", "9", True),
        ("Vaeflow [plots] >= 1", "0.1", False),
        ("vaeflow>=1; python_version < '3'", "0.1", True),
        ("vaeflow>=1; extra == 'dev'", "0.1", True),
        ("vaeflow-zuko>=7", "0.1", True),
        ("vaeflow_x>=7", "0.1", True),
        ("vaeflow>>1", "0.1", False),
    ],
)
def test_a_plugin_says_which_vaeflow_it_needs(plugin, monkeypatch, needs, version, fits):
    folder = plugin("vaeflow-twist", "raise AssertionError('imported')")
    with open(folder / "vaeflow_twist-1.0.dist-info" / "METADATA", "a") as f:
        f.write(f"Requires-Dist: torch\nRequires-Dist: {needs}\n")
    monkeypatch.setattr("vaeflow.plugins.discovery.__version__", version)
    (found,) = find_plugins()
    assert found.state == ("installed" if fits else "incompatible"), found.reason


# In a child process, since this one has imported everything: the modules that a command line
# leaves behind, as JSON on the last line.
_MODULES = """
import json, sys
from vaeflow.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit_:
    assert not exit_.code, exit_.code
print()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    "line", ["--help", "--version", "plugins", "train --help", "evaluate --help"]
)
def test_help_and_lists_import_no_torch_and_no_plugin(plugin, bare_environment, line):
    folder = plugin("vaeflow-twist", "raise AssertionError('imported')")
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, *line.split()],
        env={**bare_environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "vaeflow.cli" in modules
    assert not modules & {"torch", "numpy", "sklearn", "vaeflow_twist_plugin"}
    if line == "plugins":
        assert "vaeflow-twist 1.0: vaeflow_twist_plugin" in done.stdout


def test_listing_the_parts_imports_no_torch(plugin, bare_environment):
    folder = plugin("vaeflow-twist", GOOD)
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, "list"],
        env={**bare_environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "twist " in done.stdout
    assert "vaeflow_twist_plugin" in modules  # it names its parts
    assert not modules & {"torch", "numpy", "twist_parts"}  # but they are not loaded


@pytest.mark.parametrize("line", ["--help", "--version", "plugins", "plugins list --json"])
def test_help_and_lists_are_quick_with_twenty_plugins(plugin, bare_environment, line):
    broken = plugin("vaeflow-broken", "raise AssertionError('imported')")
    folders = [broken] + [plugin(f"vaeflow-p{i}", "import torch\n" + GOOD) for i in range(19)]
    for i, folder in enumerate(folders):
        (info,) = folder.glob("*.dist-info/METADATA")
        with open(info, "a") as f:  # as a real one, with a requirement to be read
            f.write(f"Requires-Dist: vaeflow>=0.{i % 2},<2\nRequires-Dist: torch\n")
    path = os.pathsep.join(map(str, folders))
    words = [sys.executable, "-m", "vaeflow", *line.split()]
    # Of the processor, the least of several: other work on the machine only adds to it, and to
    # the time on the wall without bound.
    seconds = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**bare_environment, "PYTHONPATH": path}
        done = subprocess.run(words, env=environment, capture_output=True, check=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if seconds[-1] <= 0.3:
            break
    assert ("vaeflow-p18" in done.stdout) is line.startswith("plugins")
    assert 0 < min(seconds) <= 0.3, seconds
