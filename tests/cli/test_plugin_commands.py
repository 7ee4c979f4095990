"""Commands of plugins: found by name, shown by --help, contained when they fail."""

import json
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from vaeflow.cli import cli as group

HELLO = '''
import click
from vaeflow import hookimpl

@click.command()
@click.argument("who")
@click.pass_obj
def hello(selection, who):
    """Greet WHO, who must be somebody."""
    if who == "nobody":
        raise OSError("nobody is here")
    click.echo(f"hello {who}, strict={selection.strict}")

@hookimpl
def vaeflow_register_commands(register):
    register("hello", "vaeflow_hello_plugin:hello", "Greet somebody.")
'''


@pytest.fixture
def hello(plugin):
    return plugin("vaeflow-hello", HELLO)


def test_a_command_of_a_plugin_runs(cli, hello):
    assert cli("hello", "you", "--strict-plugins").out == "hello you, strict=True\n"
    done = cli("hello", "--help")
    assert done.out.startswith("Usage: vaeflow hello [OPTIONS] WHO\n\n  Greet WHO, who")
    told = cli("plugins", "info", "vaeflow-hello").out
    assert "command      hello: Greet somebody." in told


def test_help_shows_it_below_vaeflow_s_own(cli, hello):
    own, _, theirs = cli("--help").out.partition("\nCommands of plugins:\n")
    assert "Commands:\n  train" in own
    assert theirs.startswith("  hello  Greet somebody.\n")


@pytest.mark.parametrize("summary", ["", ', " "'])
def test_without_a_summary_its_plugin_is_named(cli, plugin, summary):
    plugin("vaeflow-hello", HELLO.replace(', "Greet somebody."', summary))
    assert "\n  hello  From vaeflow-hello 1.0.\n" in cli("--help").out


@pytest.mark.parametrize("way", ["--no-plugins", "variable"])
def test_a_plugin_that_is_left_out_has_no_command(cli, hello, monkeypatch, way):
    words = [way] if way.startswith("-") else []
    if not words:
        monkeypatch.setenv("VAEFLOW_DISABLE_PLUGINS", "vaeflow-hello")
    done = cli(*words, "hello", "you")
    assert done.code == 2
    assert done.err.startswith("Error: hello: unknown command; there are train, data, ")
    assert "should a plugin bring it, vaeflow-hello 1.0 is disabled" in done.err
    assert "hello" not in cli(*words, "--help").out


def test_the_entry_point_selects_it_as_well(cli, hello, monkeypatch):
    monkeypatch.setenv("VAEFLOW_PLUGINS", "main")
    assert "hello  Greet" in cli("--help").out
    assert cli("hello", "you").code == 0


def test_an_unknown_command_is_compared_with_all(cli, hello, one_sentence):
    done = cli("helo")
    assert done.code == 2
    one_sentence(done.err.strip())
    assert "helo: unknown command (did you mean 'hello'?); there are hello, train, " in done.err
    assert "did you mean 'train'?" in cli("trian").err


def test_vaeflow_keeps_its_own_names(cli, plugin):
    plugin("vaeflow-hello", HELLO.replace('register("hello"', 'register("verify"'))
    assert "Check the files of the run" in cli("verify", "--help").out
    assert "\n  vaeflow-hello/verify  Greet somebody.\n" in cli("--help").out
    assert cli("vaeflow-hello/verify", "you").out.startswith("hello you")


def test_two_plugins_may_offer_one_name(cli, hello, plugin, one_sentence):
    plugin("vaeflow-also", HELLO.replace("vaeflow_hello", "vaeflow_also"))
    done = cli("hello", "you")
    assert done.code == 2
    one_sentence(done.err.strip())
    assert "offered by vaeflow-also and vaeflow-hello: write vaeflow-also/hello or" in done.err
    assert cli("vaeflow-also/hello", "you").code == 0


def test_a_file_brings_a_command(cli, plugin, here):
    (here / "mine.py").write_text(HELLO.replace('"vaeflow_hello_plugin:hello"', "hello"))
    assert cli("hello", "you", "--plugin", "mine.py").out.startswith("hello you")
    assert "hello  Greet somebody." in cli("--help", "--plugin", "mine.py").out


def test_what_it_raises_is_told_in_a_sentence(cli, hello, one_sentence):
    done = cli("hello", "nobody")
    assert done.code == 6
    one_sentence(done.err.strip())
    assert done.err.startswith("Error: command 'hello' from vaeflow-hello 1.0 failed (OSError: nob")
    with pytest.raises(OSError, match="nobody is here"):
        cli("hello", "nobody", "--debug")
    done = cli("hello")  # its own usage is its own
    assert (done.code, "Missing argument 'WHO'" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            HELLO.replace("plugin:hello", "plugin:helo"),
            "cannot be imported from vaeflow_hello_plug",
        ),
        (
            HELLO.replace("plugin:hello", "plugin:json"),
            "cannot be imported from vaeflow_hello_plug",
        ),
        (HELLO.replace("plugin:hello", "plugin:click"), "is <module 'click'"),
        (
            HELLO.replace('"Greet somebody."', "hello"),
            "command 'hello': its summary is <Command he",
        ),
        (HELLO.replace('register("hello"', 'register("Hello"'), "use up to 50 lower-case letters"),
    ],
)
def test_a_wrong_plugin_costs_itself_alone(cli, plugin, code, told):
    plugin("vaeflow-hello", code)
    done = cli("hello", "you")
    assert done.code in (2, 6)
    assert told in done.err
    done = cli("--help")
    assert done.code == 0
    assert "Commands:\n  train" in done.out
    assert cli("plugins").code == 0


def test_help_loads_no_plugin_without_commands(hello, plugin, bare_environment):
    other = plugin("vaeflow-other", HELLO.replace("register_commands", "register_engines"))
    code = "import json, sys; from vaeflow.cli import cli; cli.main(['--help'], standalone_mode=0)"
    path = f"{hello}:{other}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(json.dumps(sorted(sys.modules)))"],
        env={**bare_environment, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "hello  Greet somebody." in done.stdout
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "vaeflow_hello_plugin" in modules
    assert not modules & {"vaeflow_other_plugin", "torch", "numpy"}


def test_the_shell_completes_commands_and_engines(plugin):
    engines = HELLO.replace("commands(register)", "engines(register)")
    plugin(
        "vaeflow-queue", engines.replace(', "Greet somebody."', "").replace('"hello"', '"queue"')
    )
    plugin("vaeflow-hello", HELLO)

    def offered(*words):
        shell = ShellComplete(group, {}, "vaeflow", "_VAEFLOW_COMPLETE")
        return [item.value for item in shell.get_completions([*words[:-1]], words[-1])]

    assert offered("he") == ["hello"]
    assert offered("")[-1] == "hello"
    assert "hello" not in offered("--no-plugins", "he")
    assert offered("hello", "--he") == ["--help"]
    assert offered("helo", "x") == []  # such a line has no completion, and no error
    for command in ("benchmark", "tune"):
        assert offered(command, "--engine", "") == ["local", "queue", "ray"]


def test_own_commands_load_no_plugin(monkeypatch):
    monkeypatch.setattr("vaeflow.plugins.loading.load_plugins", None)
    for name in group.summaries:
        assert group.get_command(click.Context(group), name) is not None
