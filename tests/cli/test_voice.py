"""--quiet, --verbose and --json: what is said, and where."""

from __future__ import annotations

import json
import logging

import pytest

import vaeflow
from vaeflow.cli import _log_to_stderr
from vaeflow.cli.voice import Voice, speaking
from vaeflow.comparison.report.numbers import as_json
from vaeflow.runs.directory import Run


@pytest.fixture
def train(cli, tiny, grey_file, here):
    def run(*words, **how):
        data = ("--dataset", "file", "--dataset.path", grey_file, "--no-tensorboard")
        return cli("train", *tiny, *data, "--run-dir", "run", *words, **how)

    return run


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_leaves_the_results_alone(train, terminal):
    done = train("-q", terminal=terminal)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "6 images of the test data" in lines[0]
    assert lines[-1].endswith("all results in run")
    assert "epoch 1/1" not in done.out
    assert "Next:" not in done.out


def test_quiet_still_tells_errors(train, cli):
    assert train("--quiet", "--posterior", "planr").err.startswith("Error: ")
    done = cli("-q", "verify", "nothing")
    assert done.code
    assert done.err.startswith("Error: ")


@pytest.mark.parametrize("loud", ["-v", "--debug"])
def test_quiet_and_loud_are_refused_together(train, loud, one_sentence):
    done = train("-q", loud)
    assert done.code == 2
    one_sentence(done.err.splitlines()[-1].removeprefix("Error: "))


def test_verbose_tells_the_steps(train):
    plain, told = train(), train("--verbose", "--run-dir", "other")
    assert plain.err == ""
    steps = [line for line in told.err.splitlines() if line.startswith("Debug: ")]
    assert any("loaded in" in line for line in steps)
    assert any("checkpoint" in line for line in steps)


@pytest.mark.parametrize(("how", "told"), [(Voice(verbose=True), False), (Voice(debug=True), True)])
def test_tracebacks_are_for_debugging(how, told, capsys):
    _log_to_stderr(how.level)
    with speaking(how):
        try:
            raise RuntimeError("odd")
        except RuntimeError:
            logging.getLogger("vaeflow").debug("its traceback", exc_info=True)
    assert ("RuntimeError: odd" in capsys.readouterr().err) is told


def test_a_word_after_two_dashes_is_no_option():
    assert Voice.of(["sample", "--", "-q"]) == Voice()
    assert Voice.of(["sample", "-q"]) == Voice(quiet=True)


def test_a_training_prints_json_alone(train, cli, here):
    done = train("--json", terminal=True)
    assert done.code == 0
    found = json.loads(done.out)
    run = Run(here / "run")
    assert (found["run"], found["state"], found["epoch"]) == ("run", "completed", 1)
    assert found["summary"] == run.summary
    assert "epoch 1/1" in done.err
    again = cli("resume", "run", "--json")
    assert json.loads(again.out) == found
    assert "nothing to do" in again.err
    quiet = cli("resume", "run", "--json", "--epochs", 2, "-q")
    assert (json.loads(quiet.out)["epoch"], quiet.err) == (2, "")


def test_lists_and_comparisons_print_json_alone(cli, run_copy):
    parts = json.loads(cli("list", "posterior", "--json").out)
    assert {part["kind"] for part in parts} == {"posterior"}
    (default,) = [part["name"] for part in parts if part["default"]]
    assert default == "identity"
    assert len(json.loads(cli("list", "--json").out)) > len(parts)
    done = cli("compare", run_copy, "--json", "-k", 3, "--proposal", "q")
    assert done.code == 0, done.err
    expected = as_json(vaeflow.compare(run_copy, proposal="q", samples=3))
    assert json.loads(done.out) == json.loads(json.dumps(expected))
