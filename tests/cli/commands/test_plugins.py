"""`vaeflow plugins`: the installed plugins, their parts, and plugins from a file."""

from __future__ import annotations

import json
import sys

import pytest

TWIST = """
from vaeflow import hookimpl
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.posteriors.identity import Identity

class Twist(Identity):
    "A twist. It has more to say."

@hookimpl
def vaeflow_register_posteriors(register):
    register("twist", Twist)
    register("lost", "no_such_module:Lost")

@hookimpl
def vaeflow_register_likelihoods(register):
    register("gaussian", Gaussian)

@hookimpl
def vaeflow_train_end(status):
    pass
"""


def test_an_empty_list_says_how_to_get_a_plugin(cli, plugin):
    done = cli("plugins")
    assert (done.code, done.err) == (0, "")
    assert done.out == "No plugins are installed; pip install one, and its parts appear by name.\n"


@pytest.mark.parametrize("words", [("plugins",), ("plugins", "list")])
def test_the_list_imports_no_plugin(cli, plugin, words):
    plugin("vaeflow-b", "raise SystemExit(9)", version="2.0")
    plugin("vaeflow-a", "raise AssertionError", version="0.1")
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[:2] == [
        "vaeflow-a 0.1: vaeflow_a_plugin, installed",
        "vaeflow-b 2.0: vaeflow_b_plugin, installed",
    ]
    assert not {"vaeflow_a_plugin", "vaeflow_b_plugin"} & set(sys.modules)


@pytest.mark.parametrize("words", [("plugins", "--json"), ("plugins", "list", "--json")])
def test_the_list_prints_json(cli, plugin, monkeypatch, words):
    plugin("vaeflow-a", "raise AssertionError", version="0.1")
    monkeypatch.setenv("VAEFLOW_DISABLE_PLUGINS", "vaeflow-a")
    assert json.loads(cli(*words).out) == [
        {
            "distribution": "vaeflow-a",
            "version": "0.1",
            "name": "main",
            "target": "vaeflow_a_plugin",
            "state": "disabled",
            "reason": "$VAEFLOW_DISABLE_PLUGINS names it",
        }
    ]


@pytest.mark.parametrize("name", ["vaeflow-twist", "Vaeflow_Twist", "twisted"])
def test_info_explains_one_plugin(cli, plugin, name):
    plugin("vaeflow-twist", TWIST, version="2.5", point="twisted")
    done = cli("plugins", "info", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("vaeflow-twist 2.5: no summary\n  state        ok\n")
    assert "posterior    twist: A twist.\n" in done.out
    assert "likelihood   vaeflow-twist/gaussian: " in done.out  # the built-in has the short name
    assert "entry point  twisted = vaeflow_twist_plugin" in done.out
    assert "vaeflow_register_posteriors, vaeflow_train_end" in done.out
    # A part that cannot be imported hides no other part.
    assert "posterior    lost: posterior 'lost' from vaeflow-twist 2.5 cannot be import" in done.out
    assert "Traceback" in done.out


def test_info_prints_json(cli, plugin):
    plugin("vaeflow-twist", TWIST, version="2.5")
    (about,) = json.loads(cli("plugins", "info", "vaeflow-twist", "--json").out)
    assert (about["state"], about["reason"], about["traceback"]) == ("ok", "", "")
    assert [p["name"] for p in about["parts"]] == ["twist", "lost", "vaeflow-twist/gaussian"]
    assert about["parts"][1]["error"]


def test_an_unknown_plugin_is_refused(cli, plugin):
    plugin("vaeflow-twist", TWIST)
    done = cli("plugins", "info", "vaeflow-twst")
    assert done.code == 2
    assert "unknown plugin (did you mean 'vaeflow-twist'?); there are vaeflow-twist" in done.err


def test_an_unknown_subcommand_is_refused(cli, plugin):
    done = cli("plugins", "lst")
    assert done.code == 2
    assert "lst: unknown command (did you mean 'list'?); there are list, info, check, n" in done.err


@pytest.fixture
def file(here):
    (here / "my_flow.py").write_text(TWIST)
    return "my_flow.py"


@pytest.fixture
def train(cli, tiny, grey_file):
    def run(*words):
        data = ("--dataset", "file", "--dataset.path", grey_file, "--no-tensorboard")
        return cli("train", *tiny, *data, "--run-dir", "run", *words)

    return run


@pytest.mark.parametrize("spelled", [("--plugin", "my_flow.py"), ("--plugin=my_flow.py",)])
def test_a_named_file_is_a_plugin(cli, train, plugin, file, here, spelled):
    assert train("--posterior", "twist").code == 2  # a working directory loads nothing by itself
    assert "twist" in cli(*spelled, "list", "posterior").out
    done = train(*spelled, "--posterior", "twist")
    assert (done.code, done.err) == (0, "")
    assert 'name = "my_flow.py/twist"' in (here / "run" / "config.toml").read_text()
    assert "vaeflow evaluate run --plugin my_flow.py\n" in done.out  # suggested next


def test_a_run_names_its_missing_plugin_file(cli, train, plugin, file, here, one_sentence):
    assert train("--plugin", file, "--posterior", "twist").code == 0
    done = cli("sample", "run", "--out", "a.png")
    assert done.code == 6
    one_sentence(done.err.strip())
    assert "run needs posterior 'my_flow.py/twist' of my_flow.py" in done.err
    assert "a file of that name: give its path with --plugin PATH/my_flow.py" in done.err
    done = cli("--plugin", file, "sample", "run", "--out", "a.png")
    assert (done.code, done.err) == (0, "")
    (here / file).write_text(TWIST + "\n# changed\n")
    done = cli("sample", "run", "--out", "b.png", "--plugin", file)
    assert done.code == 0
    assert "Warning: run needs posterior 'my_flow.py/twist' of my_flow.py" in done.err
    assert "results may differ" in done.err


@pytest.mark.parametrize(
    ("code", "exit_code", "told"),
    [
        (None, 2, "--plugin my_flow.py cannot be read (No such file or directory): give the pa"),
        ("1 / 0", 6, "--plugin my_flow.py failed to load (ZeroDivisionError: division by zero)"),
        ("def f(:", 6, "--plugin my_flow.py failed to load (SyntaxError: invalid syntax"),
        ("raise SystemExit", 6, "--plugin my_flow.py failed to load (SystemExit:)"),
    ],
)
def test_a_named_file_that_fails_is_an_error(
    cli, plugin, here, code, exit_code, told, one_sentence
):
    if code is not None:
        (here / "my_flow.py").write_text(code)
    done = cli("list", "--plugin", "my_flow.py")
    assert done.code == exit_code
    one_sentence(done.err.strip())
    assert told in done.err


def test_plugin_without_a_path_is_a_usage_error(cli):
    assert cli("list", "--plugin").code == 2


def test_an_option_after_two_dashes_has_no_effect(cli, plugin, file):
    assert "twist" not in cli("list", "posterior", "--", "--plugin", file).out


def test_two_files_may_have_one_name(cli, plugin, here):
    for name in ("a", "b"):
        (here / name).mkdir()
        text = TWIST.replace('"twist"', f'"{name}-twist"').replace('"lost"', f'"{name}-lost"')
        (here / name / "hooks.py").write_text(text.replace('"gaussian"', f'"{name}-gaussian"'))
    done = cli("list", "posterior", "--plugin", "a/hooks.py", "--plugin", "b/hooks.py")
    assert done.code == 0, done.err
    assert "a-twist" in done.out
    assert "b-twist" in done.out


# vaeflow plugins check

CHARGING = """
from vaeflow import hookimpl
from vaeflow.parts import Objective

class Charging(Objective):
    "The ELBO with a share of the KL."

    def __init__(self, *, share: float, loud: bool = False):
        super().__init__()
        self.share = share

    def __call__(self, terms, beta):
        return (terms.log_px - beta * self.share * terms.sampled_kl()).mean(0)

@hookimpl
def vaeflow_register_objectives(register):
    register("charging", Charging)
"""


@pytest.fixture
def charging(here):
    (here / "charging.py").write_text(CHARGING)
    return "charging.py"


@pytest.mark.parametrize("name", ["charging.py", "charging.py/charging", "./charging.py"])
def test_a_file_is_checked_with_the_options_that_it_needs(cli, plugin, charging, name):
    done = cli("plugins", "check", name, "--objective.share", "1")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "objective charging"
    assert lines[1] == "  tried 2 sets of options: share=1 and the defaults; loud true"
    assert lines[-1].endswith("verdicts: " + lines[-2].strip())
    assert "runs_a_core_check" not in done.out


def test_without_the_option_nothing_is_checked_and_the_check_fails(cli, plugin, charging):
    done = cli("plugins", "check", charging)
    assert done.code == 6
    assert "nothing could be checked without --objective.share (number): add it" in done.out


def test_a_fault_is_told_once_with_the_options_that_show_it(cli, plugin, charging):
    done = cli("plugins", "check", charging, "--objective.share=0.5", "--plugin", charging)
    assert done.code == 6
    failures = [line for line in done.out.splitlines() if "is_tight" in line]
    assert len(failures) == 1
    assert failures[0].startswith(
        "  ✗ is_tight_where_the_posterior_is_exact with share=0.5: with q"
    )
    assert "    and with share=0.5, loud=true" in done.out
    every = cli("plugins", "check", charging, "--objective.share=0.5", "-v").out
    assert every.count("✗ is_tight_where_the_posterior_is_exact with share=0.5") == 2
    assert "  ✓ moves_with_log_px" in every


def test_the_verdicts_are_printed_as_json(cli, plugin, charging):
    done = cli("plugins", "check", charging, "--objective.share", "1", "--json")
    found = json.loads(done.out)
    assert {v["subject"] for v in found} == {"objective charging"}
    assert all(v["seconds"] >= 0 for v in found)
    assert {v["state"] for v in found} <= {"passed", "not applicable"}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("charging.py", "--objective.share", "much"), 2, "--objective.share: got much, expected"),
        (("charging.py", "--objective.shore", "1"), 2, "unknown option (did you mean 'share'?)"),
        (("charging.py", "--prior.size", "1"), 2, "brings no prior, but objective"),
        (("charging.py/charge",), 2, "charging.py has no part 'charge' (did you mean 'charging'"),
        (("charged.py",), 2, "charged.py cannot be read (No such file or directory)"),
        (("charging.py", "--objective.share"), 2, "needs a value"),
    ],
)
def test_a_check_of_wrong_words_is_refused(cli, plugin, charging, words, code, told, one_sentence):
    done = cli("plugins", "check", *words)
    assert done.code == code
    assert told in done.err
    if done.err.startswith("Error"):
        one_sentence(done.err.strip())


def test_a_check_that_checks_nothing_fails(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEFLOW_DATA", str(tmp_path))
    done = cli("plugins", "check", "vaeflow/omniglot")
    assert done.code != 0
    assert "holds no chardata.mat" in done.out
    assert "✗ runs_a_core_check: no core check could be run: it has no data here" in done.out
