"""The hooks of plugins: all are called, each plugin by itself, and watching changes nothing."""

from __future__ import annotations

import json

import pytest

from vaeflow.plugins import hookspecs
from vaeflow.plugins.registry import KINDS

# One plugin that implements every hook there is and notes what it is told.
EVERY = (
    "import json\nfrom vaeflow import hookimpl\n"
    + "".join(
        f"""
@hookimpl
def vaeflow_register_{kind}s(register):
    register("noted", "noted_parts:Noted")
"""
        for kind in KINDS
    )
    + """
@hookimpl
def vaeflow_register_engines(register):
    register("noted", "noted_parts:noted")

@hookimpl
def vaeflow_register_commands(register):
    register("noted", "noted_parts:noted", "Note it.")

def note(run_dir, hook, **told):
    with open(run_dir / "hooks.jsonl", "a") as f:
        f.write(json.dumps([hook, told]) + "\\n")

@hookimpl
def vaeflow_train_start(run_dir, config):
    note(run_dir, "vaeflow_train_start", seed=config["seed"])

@hookimpl
def vaeflow_epoch_end(run_dir, record):
    note(run_dir, "vaeflow_epoch_end", epoch=record["epoch"])

@hookimpl
def vaeflow_picture(run_dir, name, step, picture):
    note(run_dir, "vaeflow_picture", name=name, step=step, shape=picture.shape)

@hookimpl
def vaeflow_train_end(run_dir, status, summary):
    note(run_dir, "vaeflow_train_end", status=status, nll=summary.get("nll"))
"""
)


@pytest.fixture
def train(cli, tiny, grey_file, here):
    def run(*words):
        data = ("--dataset", "file", "--dataset.path", grey_file)
        return cli("train", *tiny, "--no-tensorboard", *data, "--run-dir", "run", *words)

    return run


@pytest.fixture
def notes(here):
    def read(run="run"):
        lines = (here / run / "hooks.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return read


def test_the_plugin_above_implements_every_hook():
    specified = {name for name in vars(hookspecs) if name.startswith("vaeflow_")}
    implemented = {line.split("(")[0][4:] for line in EVERY.splitlines() if "def vaeflow" in line}
    assert implemented == specified


def test_every_hook_is_called(train, cli, plugin, notes, here):
    plugin("vaeflow-every", EVERY)
    assert train("--epochs", 2, "--seed", 5).code == 0
    nll = json.loads((here / "run" / "summary.json").read_text())["nll"]
    assert notes() == [
        ["vaeflow_train_start", {"seed": 5}],
        ["vaeflow_epoch_end", {"epoch": 1}],
        # 8 examples of 4×4 with their reconstructions in pairs, four pairs in a row, and
        # 64 samples; both are magnified 11 times
        ["vaeflow_picture", {"name": "reconstructions", "step": 3, "shape": [132, 528]}],
        ["vaeflow_picture", {"name": "samples", "step": 3, "shape": [528, 528]}],
        ["vaeflow_epoch_end", {"epoch": 2}],
        ["vaeflow_train_end", {"status": "completed", "nll": nll}],
    ]
    listed = cli("list").out
    assert listed.count("  noted ") == len(KINDS)


def test_a_resumed_run_starts_its_hooks_again(train, cli, plugin, notes):
    plugin("vaeflow-every", EVERY)
    assert train().code == 0
    assert cli("resume", "run", "--epochs", 2).code == 0
    assert [name.removeprefix("vaeflow_") for name, _ in notes()] == [
        *["train_start", "epoch_end", "picture", "picture", "train_end"],
        *["train_start", "epoch_end", "train_end"],
    ]


def test_a_plugin_may_leave_a_run_alone(train, plugin, notes, monkeypatch):
    """It returns False at the begin: no hook of its is called later, and no picture is drawn."""
    plugin("vaeflow-every", EVERY.replace('seed=config["seed"])', "seed=0)\n    return False"))
    monkeypatch.setattr("vaeflow.runs.gallery.draw", None)
    done = train()
    assert (done.code, done.err) == (0, "")
    assert notes() == [["vaeflow_train_start", {"seed": 0}]]


@pytest.mark.parametrize(("hook", "answer"), [("train_start", True), ("epoch_end", False)])
def test_a_hook_that_returns_anything_else_is_refused(train, plugin, hook, answer):
    code = f"from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_{hook}(): return {answer}\n"
    plugin("vaeflow-answers", code)
    done = train()
    told = f"Error: vaeflow_{hook} returned {answer}: a hook acts and returns nothing\n"
    assert (done.code, done.err) == (6, told)


def test_no_picture_is_drawn_where_nobody_sees_it(train, monkeypatch):
    monkeypatch.setattr("vaeflow.runs.gallery.draw", None)
    done = train()
    assert (done.code, done.err) == (0, "")


def test_a_failed_training_ends_its_hooks(train, plugin, notes):
    plugin("vaeflow-every", EVERY)
    assert train("--lr", "1e30").code == 5
    assert notes()[-1] == ["vaeflow_train_end", {"status": "failed", "nll": None}]


def test_one_plugin_that_fails_does_not_mute_another(train, plugin, notes, here):
    code = "from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_{hook}(run_dir): {body}\n"
    plugin("vaeflow-bad", code.format(hook="train_start", body="1 / 0"), version="0.3")
    also = "\n@hookimpl\ndef vaeflow_train_end(run_dir): (run_dir / 'never').touch()\n"
    plugin("vaeflow-worse", code.format(hook="epoch_end", body="[][0]") + also, version="0.4")
    plugin("vaeflow-every", EVERY)
    done = train("--epochs", 2)
    assert done.code == 0
    assert done.err.splitlines() == [
        "Warning: plugin vaeflow-bad 0.3 failed and is muted (ZeroDivisionError: division by zero)",
        "Warning: plugin vaeflow-worse 0.4 failed and is muted (IndexError: list index out of "
        "range)",
    ]
    assert len(notes()) == 6
    assert not (here / "run" / "never").exists()


@pytest.mark.parametrize("strict", [(), ("--strict-plugins",)])
def test_a_hook_may_stop_a_training_on_purpose(train, plugin, notes, strict):
    plugin(
        "vaeflow-budget",
        """
        from vaeflow import hookimpl
        from vaeflow.errors import ConfigError

        @hookimpl
        def vaeflow_epoch_end(record):
            raise ConfigError("the budget is spent: raise it")
        """,
    )
    plugin("vaeflow-every", EVERY)
    done = train("--epochs", 5, *strict)
    assert (done.code, done.err) == (2, "Error: the budget is spent: raise it\n")
    assert notes()[-1] == ["vaeflow_train_end", {"status": "failed", "nll": None}]


def test_a_hook_that_draws_at_random_does_not_change_the_training(train, plugin, here):
    plugin(
        "vaeflow-dice",
        """
        import torch
        from vaeflow import hookimpl

        @hookimpl
        def vaeflow_epoch_end(record):
            torch.rand(7)
        """,
    )
    assert train("--epochs", 2).code == 0
    assert train("--epochs", 2, "--no-plugins", "--run-dir", "other").code == 0

    def losses(run):
        lines = (here / run / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["train/loss"] for line in lines]

    assert losses("run") == losses("other")
