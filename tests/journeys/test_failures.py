"""Faults of a plugin and their costs, with real wheels, installed by pip."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
dependencies = ["{needs}"]
[project.entry-points.vaeflow]
{entry} = "{module}"
"""

# A posterior; each faulty plugin changes some of its code.
PART = """
import torch
from vaeflow import hookimpl
from vaeflow.parts import Posterior
from vaeflow.distributions import DiagonalNormal

class Twist(Posterior):
    {body}
    def __init__(self, latent, features, *, steps: int = 1):
        super().__init__(latent, features)
        self.head = torch.nn.Linear(features, 2 * latent)
        self.calls = 0

    def {forward}(self, h):
        self.calls += self.training
        if self.calls > {fails_after}:
            raise RuntimeError("the seventh seal")
        return DiagonalNormal(*self.head(h).chunk(2, -1))

@hookimpl
def vaeflow_register_posteriors(register):
    register({name!r}, {target})
"""


def part(*, body="", forward="forward", fails_after=10**9, name="twist", target="Twist"):
    return PART.format(
        body=body, forward=forward, fails_after=fails_after, name=name, target=target
    )


def hook(code):
    return part() + f"\n@hookimpl\n{code}\n"


PLUGINS = {
    "good": part(),
    "rival": part(),
    "shadow": part(name="planar"),
    "import-error": "import no_such_module",
    "syntax-error": "def vaeflow(:",
    "system-exit": "raise SystemExit(0)",
    "value-error": "raise ValueError('bad\\nluck')",
    "wrong-type": part(target="dict"),
    "no-method": part(forward="forwards"),
    "other-api": part(body="api = 99"),
    "old-api": part(body="api = 0"),
    "constructor": part().replace("latent, features, *, steps", "latent, *, features, steps"),
    "extra-size": part().replace("latent, features, *, steps", "latent, features, width, *, steps"),
    "lost-part": part(target="'no_such_module:Twist'"),
    "misspelt": hook("def vaeflow_epoch_ends(record): pass"),
    "unmarked": part().replace("@hookimpl", ""),
    "observer": hook("def vaeflow_epoch_end(record): raise ValueError('no disk')"),
    "exiting": hook("def vaeflow_epoch_end(record): raise SystemExit(3)"),
    "forward": part(fails_after=5),
    "incompatible": "raise AssertionError('imported')",
}
NEEDS = {"incompatible": "vaeflow>=99"}


@pytest.fixture(scope="module")
def wheels(wheel, tmp_path_factory):
    """Build each plugin once and install it by pip in a folder of its own: name -> folder."""
    root = tmp_path_factory.mktemp("wheels")
    installed = {}

    def get(name):
        if name in installed:
            return installed[name]
        module = "vaeflow_" + name.replace("-", "_")
        source = root / name / "source"
        (source / module).mkdir(parents=True)
        (source / module / "__init__.py").write_text(PLUGINS[name])
        text = PYPROJECT.format(
            name=f"vaeflow-{name}",
            version="0.7",
            entry=name,
            module=module,
            needs=NEEDS.get(name, "vaeflow>=0.1,<2"),
        )
        (source / "pyproject.toml").write_text(text)
        site = root / name / "site"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--target", site, wheel(source)], check=True, capture_output=True)
        installed[name] = site
        return site

    return get


@pytest.fixture
def install(wheels, monkeypatch):
    """Put installed plugins on the path, as the only ones."""
    folders = []
    everything = metadata.distributions
    monkeypatch.setattr(metadata, "distributions", lambda: everything(path=folders))

    def add(*names):
        for name in names:
            folders.append(str(wheels(name)))
            monkeypatch.syspath_prepend(folders[-1])
        importlib.invalidate_caches()

    yield add
    for name in [m for m in sys.modules if m.removeprefix("vaeflow_").replace("_", "-") in PLUGINS]:
        del sys.modules[name]


@pytest.fixture
def train(cli, tiny, grey_file, here):
    def run(*words):
        data = ("--dataset", "file", "--dataset.path", grey_file)
        return cli("train", *tiny, "--no-tensorboard", *data, "--run-dir", "run", *words)

    return run


AT_IMPORT = {
    "import-error": "ModuleNotFoundError: No module named 'no_such_module'",
    "syntax-error": "SyntaxError: invalid syntax",
    "system-exit": "SystemExit: 0",
    "value-error": "ValueError: bad luck",
    "misspelt": "unknown hook 'vaeflow_epoch_ends'",
    "unmarked": "PluginError: vaeflow_register_posteriors is not marked as a hook",
}


@pytest.mark.parametrize("name", AT_IMPORT)
def test_a_plugin_that_fails_to_load_costs_one_warning(install, train, name):
    install(name)
    done = train()
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith(f"Warning: plugin vaeflow-{name} 0.7 failed to load (")
    assert AT_IMPORT[name] in line
    assert line.endswith(f"`vaeflow plugins info vaeflow-{name}` says where")


@pytest.mark.parametrize("name", AT_IMPORT)
def test_a_named_part_of_a_failed_plugin_is_an_error(install, train, name, one_sentence):
    install(name)
    done = train("--posterior", f"vaeflow-{name}/twist")
    assert done.code == 6
    error = done.err.splitlines()[-1]
    one_sentence(error)
    assert f"--posterior vaeflow-{name}/twist: vaeflow-{name} 0.7 failed to load" in error
    assert AT_IMPORT[name] in error
    unqualified = train("--posterior", "twist")
    assert unqualified.code == 2
    assert f"should a plugin bring it, vaeflow-{name} 0.7 failed" in unqualified.err


@pytest.mark.parametrize("name", [*AT_IMPORT, "incompatible"])
def test_strict_plugins_turn_a_failure_to_load_into_an_error(install, cli, name, one_sentence):
    install(name, "good")
    done = cli("list", "--strict-plugins")
    assert done.code == 6
    one_sentence(done.err.strip())
    assert f"plugin vaeflow-{name} 0.7" in done.err
    assert done.err.endswith("or leave out --strict-plugins\n")
    assert cli("list").code == 0


@pytest.mark.parametrize("name", AT_IMPORT)
def test_plugins_info_shows_the_traceback_of_a_failure(install, cli, name):
    install(name)
    told = cli("plugins", "info", f"vaeflow-{name}")
    assert told.code == 0
    assert told.err == ""
    assert "failed (" in told.out
    assert "Traceback (most recent call last)" in told.out
    assert AT_IMPORT[name].partition(":")[0] in told.out


AT_USE = {
    "wrong-type": "is <class 'dict'>, but a subclass of vaeflow.parts.Posterior is expected",
    "no-method": "lacks the method forward: tell the authors of vaeflow-no-method",
    "other-api": "version 99 of the interface of parts, but this vaeflow has version 1: `pip "
    "install --upgrade vaeflow",
    "old-api": "version 0 of the interface of parts, but this vaeflow has version 1: `pip install "
    "--upgrade vaeflow-old-api",
    "constructor": "has a constructor that cannot be called as Twist(latent, features, *, option",
    "extra-size": "cannot be called as Twist(latent, features, *, option=…) (missing a required",
    "lost-part": "cannot be imported from no_such_module:Twist (ModuleNotFoundError",
}


@pytest.mark.parametrize("name", AT_USE)
def test_a_part_that_breaks_its_interface_is_refused(install, train, here, name, one_sentence):
    install(name)
    assert train().code == 0  # another posterior is in use
    done = train("--posterior", "twist", "--run-dir", "other")
    assert done.code == 6
    one_sentence(done.err.strip())
    assert f"posterior 'twist' from vaeflow-{name} 0.7" in done.err
    assert AT_USE[name] in done.err
    assert [path.name for path in here.iterdir()] == ["run"]


def test_an_ambiguous_name_is_an_error_only_in_use(install, cli, train, one_sentence):
    install("good", "rival")
    listed = cli("list", "posterior").out
    assert "vaeflow-good/twist" in listed
    assert "vaeflow-rival/twist" in listed
    done = train("--posterior", "twist")
    assert done.code == 2
    one_sentence(done.err.strip())
    assert "offered by vaeflow-good and vaeflow-rival: write vaeflow-good/twist or" in done.err
    assert train("--posterior", "vaeflow-rival/twist").code == 0
    strict = cli("list", "--strict-plugins")
    assert strict.code == 6
    assert "posterior 'twist' is offered by vaeflow-good and vaeflow-rival" in strict.err


def test_a_built_in_keeps_its_short_name(install, cli, train, here):
    install("shadow")
    assert train("--posterior", "planar").code == 0
    assert 'name = "vaeflow/planar"' in (here / "run" / "config.toml").read_text()
    assert "vaeflow-shadow/planar" in cli("list", "posterior").out
    other = ("--posterior", "vaeflow-shadow/planar", "--run-dir", "other")
    assert train(*other).code == 0
    assert 'name = "vaeflow-shadow/planar"' in (here / "other" / "config.toml").read_text()
    assert cli("list", "--strict-plugins").code == 0  # this is no conflict


def test_an_incompatible_plugin_is_never_imported(install, cli, train, one_sentence):
    install("incompatible")
    done = train()
    assert done.code == 0
    (line,) = done.err.splitlines()
    one_sentence(line)
    assert "vaeflow-incompatible 0.7 is incompatible (it needs vaeflow>=99, and this is" in line
    assert "pip install --upgrade vaeflow vaeflow-incompatible" in line
    assert "incompatible (it needs" in cli("plugins").out
    assert train("--posterior", "vaeflow-incompatible/twist").code == 6


@pytest.mark.parametrize("name", ["observer", "exiting"])
def test_a_failing_observer_hook_is_muted(install, train, here, name):
    install(name)
    done = train("--epochs", 3)
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith(f"Warning: plugin vaeflow-{name} 0.7 failed and is muted (")
    assert len((here / "run" / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["observer", "exiting"])
def test_a_failing_observer_hook_stops_a_strict_run(install, train, name, one_sentence):
    install(name)
    done = train("--strict-plugins")
    assert done.code == 6
    one_sentence(done.err.strip())
    assert f"plugin vaeflow-{name} 0.7: its hook vaeflow_epoch_end failed" in done.err


def test_a_failed_step_names_the_part_and_the_step(install, train, here, one_sentence):
    install("forward")
    done = train("--posterior", "twist", "--epochs", 3)
    assert done.code == 6
    one_sentence(done.err.strip())
    # The first batch made two of the five calls before it.
    assert "posterior 'twist' from vaeflow-forward 0.7 failed at step 4 (RuntimeErr" in done.err
    assert '"state": "failed"' in (here / "run" / "status.json").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--posterior.stps", "2"], "--posterior.stps: unknown option (did you mean 'steps'?)"),
        (["--posterior.steps", "two"], "--posterior.steps: got two, expected integer"),
        (["--posterior.steps"], "--posterior.steps needs a value"),
    ],
)
def test_a_bad_option_of_a_plugin_is_refused(install, train, words, told):
    install("good")
    done = train("--posterior", "twist", *words)
    assert done.code == 2
    assert told in done.err


def test_a_run_names_its_missing_distribution(install, train, cli, wheels, monkeypatch):
    install("good")
    assert train("--posterior", "twist").code == 0
    assert cli("sample", "run", "--out", "with.png").code == 0
    monkeypatch.setattr(metadata, "distributions", lambda: iter(()))
    for line in ("sample run --out without.png", "evaluate run", "resume run"):
        done = cli(*line.split())
        assert done.code == 6
        assert done.err == (
            "Error: run needs posterior 'vaeflow-good/twist' of vaeflow-good 0.7, which is not "
            "installed: pip install vaeflow-good==0.7\n"
        )


@pytest.mark.parametrize(
    ("variable", "value", "flags", "loaded"),
    [
        ("VAEFLOW_PLUGINS", "vaeflow-good", (), True),
        ("VAEFLOW_PLUGINS", "vaeflow_good, other", (), True),
        ("VAEFLOW_PLUGINS", "good", (), True),  # its entry point
        ("VAEFLOW_PLUGINS", "", (), False),
        ("VAEFLOW_PLUGINS", "other", (), False),
        ("VAEFLOW_DISABLE_PLUGINS", "vaeflow-good", (), False),
        ("VAEFLOW_DISABLE_PLUGINS", "Vaeflow.Good", (), False),
        ("VAEFLOW_DISABLE_PLUGINS", "other", (), True),
        ("VAEFLOW_DISABLE_PLUGINS", "", (), True),
        ("VAEFLOW_PLUGINS", "vaeflow-good", ("--no-plugins",), False),
    ],
)
def test_variables_and_flags_select_plugins(
    install, cli, monkeypatch, variable, value, flags, loaded
):
    install("good")
    monkeypatch.setenv(variable, value)
    assert ("twist" in cli(*flags, "list", "posterior").out) is loaded
    assert ("disabled" in cli("plugins", *flags).out) is not loaded
    assert cli("train", "--posterior", "planar", "--print-config").code == 0
    named = cli("train", "--posterior", "vaeflow-good/twist", "--print-config", *flags)
    assert named.code == (0 if loaded else 6)
    if not loaded:
        assert "vaeflow-good 0.7 is disabled (" in named.err
        assert f"${variable}" in named.err or "--no-plugins" in named.err


def test_a_missing_allowed_plugin_is_a_warning(install, cli, monkeypatch):
    install("good")
    monkeypatch.setenv("VAEFLOW_PLUGINS", "vaeflow-god")
    told = "names vaeflow-god, which is not installed (did you mean 'vaeflow-good'?)"
    assert told in cli("list").err
