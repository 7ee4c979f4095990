"""What TAB offers, by click's own mechanism."""

from __future__ import annotations

import sys

import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from vaeflow.cli import cli
from vaeflow.cli.completion import choices
from vaeflow.config.files import recipes
from vaeflow.config.settings import Config
from vaeflow.options import describe
from vaeflow.plugins.loading import load_plugins


def offered(line, shell=ShellComplete):
    """Return the words that are offered at the end of a line."""
    *words, incomplete = line.split(" ")[1:]
    found = shell(cli, {}, "vaeflow", "_VAEFLOW_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


def names(kind):
    registry = load_plugins().registry
    return [registry.spelling(part) for part in registry.parts(kind)]


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_every_shell_has_a_script_and_the_names_of_parts(shell, monkeypatch):
    monkeypatch.setattr(BashComplete, "_check_version", lambda *self: None)
    script = shell(cli, {}, "vaeflow", "_VAEFLOW_COMPLETE").source()
    assert "_VAEFLOW_COMPLETE" in script
    assert offered("vaeflow train --posterior pl", shell) == ["planar"]


def test_commands_are_offered_without_importing_them():
    assert offered("vaeflow ev") == ["evaluate"]
    assert offered("vaeflow ")[0] == "train"
    assert offered("vaeflow data ") == ["inspect"]
    assert "--debug" in offered("vaeflow --d")


@pytest.mark.parametrize("command", ["train", "benchmark"])
def test_names_of_parts_are_offered(command):
    assert offered(f"vaeflow {command} --posterior ") == names("posterior")
    assert offered(f"vaeflow {command} --epochs 3 --decoder co") == ["conv"]
    assert offered(f"vaeflow {command} --optimizer adam") == ["adam", "adamw", "adamax"]
    assert offered(f"vaeflow {command} --recipe ") == recipes()


def test_options_of_the_chosen_part_are_offered():
    planar = load_plugins().require("posterior", "planar").load()
    expected = [f"--posterior.{option.name.replace('_', '-')}" for option in describe(planar)]
    assert offered("vaeflow train --posterior planar --posterior.") == expected
    assert offered("vaeflow train --posterior=planar --posterior.st") == ["--posterior.steps"]
    assert offered("vaeflow train --posterior.st --posterior planar --posterior.st") == [
        "--posterior.steps"
    ]
    assert offered("vaeflow train --posterior none-such --posterior.st") == []
    default = load_plugins().require("objective", Config.model_fields["objective"].default.name)
    assert len(offered("vaeflow train --objective.")) == len(describe(default.load())) > 0


def test_values_of_the_options_of_parts_are_offered():
    options = describe(load_plugins().require("likelihood", "gaussian").load())
    (scale,) = [option for option in options if option.name == "scale"]
    found = offered("vaeflow train --likelihood gaussian --likelihood.scale ")
    assert found == scale.type.removeprefix("one of ").split(" | ")
    assert offered("vaeflow train --likelihood gaussian --likelihood.scale fi") == ["fixed"]
    assert offered("vaeflow train --posterior planar --posterior.steps ") == []


@pytest.mark.parametrize(
    ("kind", "words"),
    {
        "one of a | b": ["a", "b"],
        "one of a | b or none": ["a", "b", "none"],
        "true | false": ["true", "false"],
        "integer ≥ 1 or none": ["none"],
        "number > 0": [],
        "one of a or none": ["a", "none"],
    }.items(),
)
def test_the_words_of_a_type(kind, words):
    assert choices(kind) == words


def test_parts_are_explained_by_name():
    assert offered("vaeflow info post") == ["posterior"]
    assert offered("vaeflow info prior ") == names("prior")
    assert offered("vaeflow list like") == ["likelihood"]


def test_other_options_that_take_a_part_offer_it():
    assert offered("vaeflow diagnose run --richer pl") == ["planar"]
    assert offered("vaeflow data inspect --dataset dig") == ["digits"]
    assert offered("vaeflow info nothing ") == []
    assert offered("vaeflow --plugin nothing.py train --posterior pl") == []


def test_runs_are_found_below_runs(here):
    for name in ("runs/b", "runs/a", "other/c", "runs/no-run"):
        (here / name).mkdir(parents=True)
    for name in ("runs/b", "runs/a", "other/c"):
        (here / name / "config.toml").touch()
    for command in ("evaluate", "resume", "compare", "verify"):
        assert offered(f"vaeflow {command} ") == ["runs/a", "runs/b"]
    assert offered("vaeflow compare runs/a runs/b") == ["runs/b"]
    assert offered("vaeflow sample other/") == ["other/c"]
    assert offered("vaeflow sample nothing/") == ["nothing/"]  # a folder, which the shell completes


def test_a_plugin_that_cannot_be_loaded_is_no_obstacle(plugin):
    plugin("vaeflow-broken", "raise RuntimeError('no')")
    assert offered("vaeflow train --posterior pl") == ["planar"]
    assert "vaeflow_broken_plugin" not in sys.modules
