"""`vaeflow info`: a part's docstring and its options."""

from __future__ import annotations

import json

import pytest

import vaeflow
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS

PARTS = [
    (kind, part.qualified)
    for kind in KINDS
    for part in load_plugins().registry.parts(kind)
    if part.distribution == "vaeflow"
]


def test_info_explains_a_part_and_its_options(cli):
    done = cli("info", "posterior", "planar")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"posterior planar, from vaeflow {vaeflow.__version__}\n\n")
    assert "Rezende" in done.out
    assert "--posterior.steps  integer" in done.out
    assert "Options:" not in done.out


def test_json_lists_the_options(cli):
    found = json.loads(cli("info", "dataset", "file", "--json").out)
    assert (found["kind"], found["name"]) == ("dataset", "vaeflow/file")
    options = {o["name"]: o for o in found["options"]}
    assert list(options) == ["path", "scale", "validation", "test"]
    assert options["path"]["default"] == ""  # required
    assert options["scale"] == {
        "name": "scale",
        "type": "number > 0",
        "default": "1",
        "meaning": "values are divided by it; 255 brings grey levels into [0, 1].",
    }


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_option_has_a_meaning_and_a_type(cli, kind, name):
    done = cli("info", kind, name, "--json")
    assert done.code == 0, done.err
    for option in json.loads(done.out)["options"]:
        assert option["meaning"], option["name"]
        assert option["type"]
    assert cli("info", kind, name).code == 0


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_the_example_of_every_part_works(cli, kind, name):
    example = cli("info", kind, name).out.splitlines()[-1].removeprefix("Example: vaeflow ")
    done = cli(*example.split(), "--print-config")
    assert done.code == 0, done.err


def test_the_example_gives_a_value_to_each_required_option(cli):
    for name in ("file", "images"):
        last = cli("info", "dataset", name).out.splitlines()[-1]
        assert last == f"Example: vaeflow train --dataset {name} --dataset.path PATH"
    last = cli("info", "posterior", "planar").out.splitlines()[-1]
    assert last.startswith("Example: vaeflow train --posterior planar --posterior.steps ")
