"""Honest mistakes of a part: vaeflow refuses each one by name, or it does no harm."""

from __future__ import annotations

import json

import pytest

PART = """
import enum
import torch
from torch import nn
from vaeflow import hookimpl
from vaeflow.parts import Encoder, Likelihood, Posterior
from vaeflow.parts import Dataset
from vaeflow.parts import Objective
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.distributions import DiagonalNormal, Flow

class Color(enum.Enum):
    RED = 1

class Twist(Posterior):
    def __init__(self, latent, features, {options}):
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        {init}

    def forward(self, h):
        {forward}
        return DiagonalNormal(*self.head(h).chunk(2, -1))

{more}

@hookimpl
def vaeflow_register_{kind}s(register):
    register("twist", {target})
{hook}
"""


@pytest.fixture
def mischief(plugin):
    def install(
        options="*, steps: int = 1", init="pass", forward="pass", more="", kind="posterior",
        target="Twist", hook="", name="vaeflow-twist",
    ):  # fmt: skip
        plugin(
            name,
            PART.format(
                options=options, init=init, forward=forward, more=more, kind=kind, target=target,
                hook=hook,
            ),
        )  # fmt: skip

    return install


@pytest.fixture
def train(cli, tiny, grey_file, here):
    def run(*words, kind="posterior", name="twist"):
        data = () if kind == "dataset" else ("--dataset", "file", "--dataset.path", grey_file)
        part = (f"--{kind}", name)
        return cli("train", *tiny, "--no-tensorboard", *data, *part, "--run-dir", "run", *words)

    return run


def test_an_option_set_to_none_is_stored(mischief, train, cli, here):
    mischief(
        options="*, scale: float | None = 5.0",
        init="self.scale = scale",
        more="class Louder(Twist): pass",
        forward="if self.scale: return DiagonalNormal(*(self.scale * self.head(h)).chunk(2, -1))",
    )
    assert train("--posterior.scale", "none").code == 0
    summary = json.loads((here / "run" / "summary.json").read_text())
    again = json.loads(cli("evaluate", "run", "-k", 3, "--json").out)
    assert again["elbo"] == summary["elbo"]
    assert 'scale = "none"' in (here / "run" / "config.toml").read_text()


def test_an_option_cannot_be_called_name(mischief, train, one_sentence):
    mischief(options="*, name: str = 'identity'")
    done = train()
    assert done.code == 6
    one_sentence(done.err.strip())
    assert "an option cannot be called name" in done.err


@pytest.mark.parametrize("what", ["init", "forward"])
def test_a_part_that_exits_is_a_failure(mischief, train, cli, what):
    mischief(**{what: "raise SystemExit(0)"})
    done = train()
    assert done.code == 6
    assert "posterior 'twist' from vaeflow-twist 1.0" in done.err
    assert "SystemExit" in done.err
    checked = cli("plugins", "check", "vaeflow-twist/twist")
    assert checked.code == 6
    assert "✗" in checked.out


def test_a_hook_cannot_change_the_config_or_a_record(mischief, train, here):
    mischief(
        hook="""
@hookimpl
def vaeflow_train_start(config):
    config["posterior"].clear()

@hookimpl
def vaeflow_epoch_end(record):
    record.clear()
"""
    )
    done = train()
    assert (done.code, done.err) == (0, "")
    assert "epoch 1/1  loss" in done.out
    (line,) = (here / "run" / "metrics.jsonl").read_text().splitlines()
    assert "train/loss" in json.loads(line)


def test_a_namesake_from_another_plugin_drops_the_options(mischief, train, here):
    mischief(options="*, steps: int = 1")
    mischief(options="*, steps: int = 7", name="vaeflow-other")
    (here / "a.toml").write_text('[posterior]\nname = "vaeflow-twist/twist"\nsteps = 3\n')
    done = train("--config", "a.toml", name="vaeflow-other/twist")
    assert done.code == 0
    assert "steps are dropped" in done.err
    assert "steps = 7" in (here / "run" / "config.toml").read_text()


@pytest.mark.parametrize("order", [1, -1])
def test_set_takes_a_part_and_its_options_in_any_order(mischief, cli, order):
    mischief()
    pairs = [("--set", "posterior.steps=5"), ("--set", "posterior=vaeflow-twist/twist")][::order]
    done = cli("train", *pairs[0], *pairs[1], "--print-config")
    assert done.code == 0
    assert "steps = 5" in done.out
    assert 'name = "vaeflow-twist/twist"' in done.out


def test_a_part_may_change_its_options(mischief, train, cli, here):
    mischief(
        options="*, hidden: list[int] = [4]",
        init="hidden.insert(0, features); self.net = nn.Linear(hidden[0], hidden[-1])",
    )
    assert train().code == 0
    assert cli("sample", "run", "--out", "a.png").code == 0


def test_a_hook_registers_only_its_own_kind(mischief, cli):
    mischief(hook="\n", target="Twist, 'prior'")
    assert "takes 2 positional arguments" in cli("list").err


OBJECTIVE = """
class Mine(ELBO):
    def weight(self, epoch):
        return {weight}
"""


@pytest.mark.parametrize("weight", ["float('nan')", "-1.0", "None", "'one'"])
def test_an_objective_with_an_invalid_weight_is_refused(mischief, train, here, weight):
    mischief(more=OBJECTIVE.format(weight=weight), kind="objective", target="Mine")
    done = train(kind="objective")
    assert done.code == 6
    assert "objective 'twist' from vaeflow-twist 1.0: weight(0) is" in done.err
    assert not (here / "run").exists()


def test_an_exchanged_part_in_config_toml_is_refused(mischief, train, cli, here):
    mischief()
    assert train().code == 0
    file = here / "run" / "config.toml"
    file.write_text(file.read_text().replace("vaeflow-twist/twist", "vaeflow/identity"))
    done = cli("evaluate", "run")
    assert done.code == 4
    assert "names another posterior than environment.json, 'vaeflow-twist/twist'" in done.err


def test_a_part_may_differentiate_in_its_forward(mischief, train):
    mischief(
        more="""
def slope(z):
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        y = z + torch.tanh(z)
        (dy,) = torch.autograd.grad(y.sum(), z)
    return z.detach() + torch.tanh(z.detach()), dy.log().sum(-1)
""",
        forward="return Flow(DiagonalNormal(*self.head(h).chunk(2, -1)), [slope])",
    )
    done = train()
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("raising", ["raise RuntimeError('the end')", "fail()"])
def test_a_failure_in_the_final_evaluation_names_the_part(mischief, train, here, raising):
    mischief(
        init="self.seen = 0",
        # The first pass takes four of these calls.
        forward=f"self.seen += not self.training\n        if self.seen > 6: {raising}",
        more="def fail():\n    raise RuntimeError('the end')",
    )
    done = train()
    assert done.code == 6
    assert (
        "posterior 'vaeflow-twist/twist' failed in evaluation (RuntimeError: the end)" in done.err
    )


@pytest.mark.parametrize(
    ("init", "told"),
    [
        ("self.other = self.head", "share their memory"),
        ("self.get_extra_state = dict; type(self).get_extra_state = lambda s: {}", "is no tensor"),
    ],
)
def test_unstorable_state_is_refused_before_training(
    mischief, train, here, init, told, one_sentence
):
    mischief(init=init)
    done = train()
    assert done.code == 6
    one_sentence(done.err.strip())
    assert told in done.err
    assert not (here / "run").exists()


def test_a_mask_may_hold_infinity(mischief, train):
    mischief(init="self.register_buffer('mask', torch.tensor([0.0, -torch.inf]))")
    assert train().code == 0


MISSING = {
    "encoder": "class Mine(Encoder):\n    def __init__(self, data_shape, *, hidden: int = 1):"
    " super().__init__(data_shape)\n    def forward(self, x): return x.flatten(1)",
    "posterior": "class Mine(Posterior):\n    def __init__(self, latent, features):"
    " nn.Module.__init__(self)\n    def forward(self, h): pass",
    "likelihood": "class Mine(Likelihood):\n    def forward(self, output): pass",
    "objective": "class Mine(Objective):\n    def __init__(self): pass\n"
    "    def __call__(self, terms, beta): pass",
    "dataset": "class Mine(Dataset):\n    def load(self): return {}",
}


@pytest.mark.parametrize("kind", MISSING)
def test_an_incomplete_part_is_named(mischief, train, here, kind, one_sentence):
    mischief(more=MISSING[kind], kind=kind, target="Mine")
    done = train(kind=kind)
    assert done.code == 6
    one_sentence(done.err.strip())
    assert f"{kind} 'twist' from vaeflow-twist 1.0" in done.err
    assert not (here / "run").exists()


@pytest.mark.parametrize("options", ["*, color: Color = Color.RED", "*, parts: set[int] = {1}"])
def test_an_unstorable_option_is_refused(mischief, train, here, options, one_sentence):
    mischief(options=options)
    done = train()
    assert done.code == 6
    one_sentence(done.err.strip())
    assert "cannot be kept in a configuration file" in done.err


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []}, {"parts": {}}, {"parts": {"posterior": None}}, {"data_shape": None},
        {"parts": {"posterior": "planar"}},
    ],
)  # fmt: skip
def test_a_damaged_environment_file_is_an_error(run_copy, cli, change):
    file = run_copy / "environment.json"
    environment = json.loads(file.read_text())
    del environment["sha256"]  # as in a file of before, which held none
    if isinstance(change.get("parts"), dict) and change["parts"]:
        change = {"parts": {**environment["parts"], **change["parts"]}}
    file.write_text(json.dumps({**environment, **change}))
    done = cli("evaluate", run_copy)
    assert done.code == 4
    assert "lacks the run's parts or its data's shape" in done.err


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("", "it implements no hook"),
        ("def f(register): pass\nvaeflow_register_priors = f", "is not marked as a hook"),
        ("from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_register_priors(register):\n"
         "    yield 1", "a hook acts and returns nothing"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "(E)"),
        ("from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_register_priors(register):\n"
         "    register('²', 'a:B')", "use up to 50 lower-case letters, digits and hyphens"),
    ],
)  # fmt: skip
def test_a_plugin_without_effect_is_a_warning(plugin, cli, code, told):
    plugin("vaeflow-idle", code)
    done = cli("list")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert told in line


def test_the_second_plugin_of_one_module_fails(plugin, cli):
    code = "from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_train_end(): pass"
    for name in ("vaeflow-a", "vaeflow-b"):
        plugin(name, code, module="of_both")
    (line,) = cli("list").err.splitlines()
    assert "its module of_both is already that of vaeflow-a:main: remove one" in line


def test_a_check_that_checks_nothing_fails(plugin, cli, here):
    (here / "watch.py").write_text(
        "from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_train_end(): pass"
    )
    done = cli("plugins", "check", "watch", "--plugin", "watch.py")
    assert done.code == 6
    assert "nothing could be checked" in done.err
