"""`vaeflow info`: a part's docstring and its options."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vaeflow
from vaeflow.errors import VaeflowError
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.training import Trainer

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
    assert list(options) == ["path", "layout", "scale", "validation", "test", "cache"]
    assert options["path"]["default"] == ""  # required
    assert options["scale"] == {
        "name": "scale",
        "type": "number > 0 or none",
        "default": "none",
        "meaning": "values are divided by it; without it, those of uint8 by 255, which brings grey "
        "levels into [0, 1]. 1 keeps values as they are.",
    }


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_option_has_a_meaning_and_a_type(cli, kind, name):
    done = cli("info", kind, name, "--json")
    assert done.code == 0, done.err
    for option in json.loads(done.out)["options"]:
        assert option["meaning"], option["name"]
        assert option["type"]
    assert cli("info", kind, name).code == 0


def example(cli, kind, name):
    """Return the words of a part's example, after `vaeflow`."""
    last = cli("info", kind, name).out.splitlines()[-1]
    assert last.startswith("Example: vaeflow train "), last
    return last.removeprefix("Example: vaeflow ").split()


@pytest.mark.parametrize(("kind", "name"), [p for p in PARTS if p[1] != "vaeflow/given"])
def test_the_example_of_every_part_is_understood(cli, kind, name):
    done = cli(*example(cli, kind, name), "--print-config")
    assert done.code == 0, done.err


LIKELIHOODS = [(kind, name) for kind, name in PARTS if kind == "likelihood"]


@pytest.mark.parametrize(("kind", "name"), [*LIKELIHOODS, ("dataset", "energies")])
def test_the_data_of_an_example_can_be_scored(cli, here, kind, name, monkeypatch):
    """All that an example does before its first step."""

    class Ready(VaeflowError):
        pass

    def run(trainer, *observers, **options):
        raise Ready

    monkeypatch.setattr(Trainer, "run", run)
    generator = np.random.default_rng(0)
    counts = generator.poisson(5.0, (50, 6))
    np.save("counts.npy", counts)
    np.savetxt("counts.csv", counts, "%d", ",", header="a,b,c,d,e,f", comments="")
    np.save("grey.npy", generator.integers(0, 256, (50, 6)) / 255)
    words = example(cli, kind, name)
    data = "counts.csv" if "table" in words else "counts.npy"
    words = [word.replace("PATH", data) for word in words]
    line = " ".join(words).replace("--dataset mnist", "--dataset file --dataset.path grey.npy")
    done = cli(*line.split(), "--run-dir", "run")
    assert done.code == Ready.exit_code, done.err


def test_a_part_that_no_command_can_use_has_no_example(cli):
    shown = cli("info", "dataset", "given").out
    assert "Example" not in shown
    assert "`vaeflow.evaluate(vaeflow.load(RUN), x)`" in shown


def test_a_formula_is_shown_as_text(cli):
    lines = cli("info", "likelihood", "continuous-bernoulli").out.splitlines()
    assert "    log p(x|z) = Σ_i x_i η_i − log((e^(η_i) − 1)/η_i)" in lines
    assert "\n\n\n" not in "\n".join(lines)


def test_lines_stay_within_the_terminal(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    shown = cli("info", "posterior", "spline").out
    options = shown[shown.index("--posterior.steps") : shown.index("Example")].splitlines()
    assert all(len(line) <= 70 for line in options)
    assert "truncated-normal, default torch" in " ".join(shown.split())


def test_the_example_gives_a_value_to_each_required_option(cli):
    for name in ("file", "images"):
        last = cli("info", "dataset", name).out.splitlines()[-1]
        assert last == f"Example: vaeflow train --dataset {name} --dataset.path PATH"
    last = cli("info", "posterior", "planar").out.splitlines()[-1]
    assert last.startswith("Example: vaeflow train --posterior planar --posterior.steps ")
