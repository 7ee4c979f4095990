"""Checks run on a part or a distribution: verdicts, exemptions and a pytest test."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from vaeflow.errors import ConfigError, PluginError
from vaeflow.parts.abstract import Objective
from vaeflow.parts.datasets.file import File
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.testing import Check, check, checks, contract, verdicts
from vaeflow.testing.pending import pending_checks
from vaeflow.testing.registered import REGISTER

HOOKS = """
from vaeflow import hookimpl

@hookimpl
def vaeflow_register_objectives(register):
    register("half", "half_parts:Half")
"""
PARTS = '''
from vaeflow.parts import Objective

class Half(Objective):
    """Half of the bound."""

    exemptions = {exemptions}

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__()
        self.share = 1.0 if whole else 0.5

    def __call__(self, terms, beta):
        {body}
'''
BODY = "return self.share * terms.log_weight.mean(0)"
LOOSE = "is_tight_where_the_posterior_is_exact"
ABOVE = "bounds_the_evidence_from_below"  # half of a negative number exceeds it
MOVES = "moves_with_log_px"
NO_BOUND = [LOOSE, ABOVE, MOVES]
CORE = "runs_a_core_check"
REACH = '''
from vaeflow import hookimpl
from vaeflow.distributions import DiagonalNormal
from vaeflow.distributions.flow import Flow
from vaeflow.parts import Posterior
from torch import nn

class Stretch:
    def __init__(self, log_reach):
        self.log_reach = log_reach

    def __call__(self, z):
        return z * self.log_reach.exp(), SIGN * self.log_reach.sum(-1).expand(z.shape[:-1])

class Reach(Posterior):
    """A Gaussian, stretched."""

    exemptions = {}

    def __init__(self, latent, features, *, reach: float, far: bool = False):
        super().__init__(latent, features)
        self.heads = nn.Linear(features, 3 * latent)
        self.reach = reach * (1 + far)

    def forward(self, h):
        numbers = self.heads(h).to(self.heads.weight.dtype)  # in bfloat16 under autocast
        loc, log_variance, log_reach = numbers.chunk(3, -1)
        return Flow(DiagonalNormal(loc, log_variance), [Stretch(self.reach * log_reach.tanh())])

@hookimpl
def vaeflow_register_posteriors(register):
    register("reach", Reach)
'''


@pytest.fixture
def half(plugin):
    def install(exemptions=(), body=BODY):
        given = dict.fromkeys(exemptions, "it is half of a bound")
        site = plugin("vaeflow-half", HOOKS)
        (site / "half_parts.py").write_text(PARTS.format(exemptions=given, body=body))
        return site

    yield install
    sys.modules.pop("half_parts", None)


def pending_of(name):
    """The checks of a contract, still to be run."""
    (mark,) = contract(name).pytestmark
    return mark.args[1]


def found(*arguments, **options):
    return {
        (v.subject, v.options.get("whole", False), v.check): v
        for v in verdicts(*arguments, **options)
    }


class TestVerdicts:
    def test_a_part_that_fails_is_told_with_the_reason(self, half):
        half()
        seen = found("vaeflow-half")
        verdict = seen["objective half", False, LOOSE]
        assert (verdict.state, verdict.options) == ("failed", {})
        assert verdict.reason.startswith("with q exact, KL(q‖p) = 0.13 nats, L = 1 and K = 1")
        assert "the value is 1.15, below log p(x) = 2.3" in verdict.reason
        assert "log p(x)" in verdict.meaning
        assert seen["objective half", True, LOOSE].state == "passed"
        assert seen["package", False, "has_a_valid_version"].state == "passed"

    def test_one_part_is_checked_without_its_package(self, half):
        half()
        subjects = {v.subject for v in verdicts("vaeflow-half/half")}
        assert subjects == {"objective half"}

    def test_an_exemption_is_told_where_the_check_fails(self, half):
        half(NO_BOUND)
        seen = found("vaeflow-half/half")
        assert seen["objective half", False, LOOSE].state == "exempt"
        assert seen["objective half", False, LOOSE].reason == "it is half of a bound"
        assert seen["objective half", True, LOOSE].state == "passed"
        assert "failed" not in {v.state for v in seen.values()}

    def test_a_stale_exemption_fails(self, half):
        half([*NO_BOUND, "gives_one_number_per_image"])
        verdict = found("vaeflow-half")["objective half", False, "gives_one_number_per_image"]
        assert verdict.state == "failed"
        assert "remove the exemption" in verdict.reason

    def test_an_exemption_from_no_check_fails(self, half):
        half([*NO_BOUND, LOOSE[:-1]])
        verdict = found("vaeflow-half")["objective half", False, LOOSE[:-1]]
        assert verdict.state == "failed"
        assert f"did you mean '{LOOSE}'" in verdict.reason

    @pytest.mark.parametrize("body", ["raise SystemExit(3)", "return 1 / 0", "return terms.no"])
    def test_a_part_may_raise_anything(self, half, body):
        half(body=body)
        states = {v.check: v for v in verdicts("vaeflow-half/half")}
        assert states[LOOSE].state == "failed"
        assert states[LOOSE].reason.split(":")[0] in (
            "SystemExit", "ZeroDivisionError", "AttributeError"
        )  # fmt: skip

    def test_an_interrupt_is_no_failure_of_the_part(self, half):
        half(body="raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            list(verdicts("vaeflow-half"))

    def test_more_options_can_be_tried(self, half):
        half()
        seen = [
            v.options for v in verdicts("vaeflow-half/half", also={"half": [{"whole": "true"}]})
        ]
        assert {"whole": "true"} in seen
        seen = {
            v.check: v for v in verdicts("vaeflow-half/half", also={"half": [{"all": 1}]})
            if v.options == {"all": 1}
        }  # fmt: skip
        assert "unknown option" in seen[LOOSE].reason

    def test_a_dataset_with_its_file_is_judged(self, grey_file):
        seen = list(verdicts("vaeflow/file", also={"file": [{"path": str(grey_file)}]}))
        assert {v.state for v in seen} == {"passed"}

    def test_a_part_that_cannot_be_imported_is_one_failure(self, half):
        site = half()
        (site / "half_parts.py").write_text("import nowhere")
        verdict = found("vaeflow-half")["objective half", False, "loads"]
        assert verdict.state == "failed"
        assert "nowhere" in verdict.reason

    @pytest.mark.parametrize(
        ("name", "also"),
        [("vaeflow-haf", {}), ("vaeflow-half/hal", {}), ("vaeflow-half", {"hal": [{}]})],
    )
    def test_unknown_names_are_refused(self, half, name, also, one_sentence):
        half()
        with pytest.raises(ConfigError, match="did you mean") as caught:
            list(verdicts(name, also=also))
        one_sentence(str(caught.value))

    def test_a_plugin_that_fails_is_refused(self, plugin, one_sentence):
        plugin("vaeflow-broken", "import nowhere")
        with pytest.raises(PluginError, match="nowhere") as caught:
            list(verdicts("vaeflow-broken"))
        one_sentence(str(caught.value))


@pytest.fixture
def reach(plugin):
    """Install a posterior with a required option, whose log-determinant has a sign."""

    def install(sign="1", **replaced):
        code = REACH.replace("SIGN", sign)
        for old, new in replaced.items():
            code = code.replace(f"{old} = {{}}", f"{old} = {new!r}")
        plugin("vaeflow-reach", code)

    return install


class TestNothingChecked:
    """A part of which no core check could be run does not pass."""

    def only(self, *arguments, **options):
        (verdict,) = (v for v in verdicts(*arguments, **options) if v.check == CORE)
        return verdict

    def test_a_required_option_is_asked_for(self, reach):
        reach()
        verdict = self.only("vaeflow-reach/reach")
        assert (verdict.state, verdict.subject) == ("failed", "posterior reach")
        assert "nothing could be checked without --posterior.reach (number)" in verdict.reason
        with pytest.raises(ConfigError, match=r"--posterior\.reach: got far, expected number"):
            self.only("vaeflow-reach/reach", options={"posterior": {"reach": "far"}})

    def test_the_options_given_are_the_base_of_every_set(self, reach):
        reach()
        seen = list(verdicts("vaeflow-reach/reach", options={"posterior": {"reach": "1"}}))
        assert {v.state for v in seen} <= {"passed", "not applicable"}
        assert {v.options.get("reach") for v in seen if v.check != CORE} == {1.0}
        assert True in {v.options.get("far") for v in seen}
        assert self.only("vaeflow-reach/reach", options={"posterior": {"reach": "1"}}).state == (
            "passed"
        )

    def test_a_flipped_sign_is_caught_with_the_option(self, reach):
        reach(sign="-1")
        seen = verdicts("vaeflow-reach/reach", options={"posterior": {"reach": 1.0}})
        failed = {v.check for v in seen if v.state == "failed"}
        assert "log_q_matches_the_jacobian" in failed
        assert CORE not in failed

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"posterior": {"reech": 1}}, "--posterior.reech: unknown option .*did you mean"),
            ({"prior": {"size": 1}}, "--prior.size: vaeflow-reach brings no prior, but posterior"),
        ],
    )
    def test_an_option_that_no_part_has_is_refused(self, reach, options, told, one_sentence):
        reach()
        with pytest.raises(ConfigError, match=told) as caught:
            list(verdicts("vaeflow-reach", options=options))
        one_sentence(str(caught.value))

    def test_a_part_whose_core_checks_are_all_exempt_does_not_pass(self, reach):
        core = {one.name: "it has reasons" for one in checks("posterior") if one.core}
        reach(sign="-1", exemptions=core)
        given = {"posterior": {"reach": 1.0}}
        verdict = self.only("vaeflow-reach/reach", options=given)
        assert verdict.state == "failed"
        assert "log_q_matches_the_jacobian is exempt (it has reasons)" in verdict.reason
        assert f"or exempt the part from {CORE} too" in verdict.reason

    def test_an_author_may_say_why_nothing_can_be_checked(self, reach):
        core = {one.name: "it has reasons" for one in checks("posterior") if one.core}
        reach(sign="-1", exemptions={**core, CORE: "it is art"})
        verdict = self.only("vaeflow-reach/reach", options={"posterior": {"reach": 1.0}})
        assert (verdict.state, verdict.reason) == ("exempt", "it is art")

    def test_that_exemption_may_be_stale_too(self, reach):
        reach(exemptions={CORE: "it is art"})
        verdict = self.only("vaeflow-reach/reach", options={"posterior": {"reach": 1.0}})
        assert "remove the exemption" in verdict.reason

    def test_a_dataset_needs_its_files_where_nothing_else_is_checked(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VAEFLOW_DATA", str(tmp_path))
        alone = self.only("vaeflow/omniglot")
        assert alone.state == "failed"
        assert "it has no data here" in alone.reason
        (beside,) = (
            v
            for v in pending_of("vaeflow")
            if (v.subject, v.check.name) == ("dataset omniglot", CORE)
        )
        assert beside.run()[0].state == "not applicable"


class TestCheck:
    def test_it_names_the_check(self):
        class Zero(Objective):
            def __call__(self, terms, beta):
                return terms.log_weight.mean(0) - 1

        with pytest.raises(AssertionError, match=LOOSE):
            check("objective", Zero)

    def test_a_partial_is_checked_alone(self, grey_file):
        check("dataset", partial(File, path=grey_file))
        with pytest.raises(AssertionError, match=rf"{CORE}: .* it has no data here"):
            check("dataset", partial(File, path=Path("/nowhere.npy")))

    def test_a_class_with_a_required_option_is_not_checked(self):
        with pytest.raises(AssertionError, match=rf"{CORE}: option 'path' is required"):
            check("dataset", File)

    def test_the_generator_is_left_as_it_was(self):
        torch.manual_seed(4)
        before = torch.get_rng_state()
        check("posterior", Identity)
        assert torch.equal(torch.get_rng_state(), before)

    def test_checks_are_functions_of_the_part(self):
        first = checks("posterior")[0]
        assert first.__name__ == first.name
        first(Identity)


def test_a_check_that_runs_once_is_judged_by_the_defaults_alone(monkeypatch):
    def fails_for_the_whole(part):
        assert not part().whole, "it is whole"

    class Part(Objective):
        exemptions: ClassVar = {"fails_for_the_whole": "art"}

        def __init__(self, *, whole: bool = False) -> None:
            self.whole = whole

        def __call__(self, terms, beta): ...

    for once, states in ((False, ["passed", "exempt"]), (True, ["failed"])):
        one = Check("objective", fails_for_the_whole, core=True, once=once)
        monkeypatch.setitem(REGISTER, "objective", [one])
        pending = [*pending_checks("objective", "objective", Part, [{}, {"whole": True}])]
        assert [one.run()[0].state for one in pending[:-1]] == states


class TestContract:
    def run(self, tmp_path, site, name):
        (tmp_path / "test_it.py").write_text(
            f"from vaeflow.testing import contract\ntest_contract = contract({name!r})\n"
        )
        code = f"import sys; sys.path.insert(0, {str(site)!r}); import pytest; "
        code += "sys.exit(pytest.main(['-v', '-Werror', '-p', 'no:cacheprovider', 'test_it.py']))"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )

    def test_it_is_a_plugins_whole_test_file(self, half, tmp_path):
        done = self.run(tmp_path, half([LOOSE]), "vaeflow-half")
        assert done.returncode == 1
        told = done.stdout
        assert f"[objective-half-{LOOSE}] XFAIL" in told
        assert f"[objective-half(whole=true)-{LOOSE}] PASSED" in told
        assert f"[objective-half-{ABOVE}] FAILED" in told
        assert "[package-requires_vaeflow_between_bounds] FAILED" in told
        assert "add 'vaeflow>=0.1,<2'" in told
        assert "[package-explains_every_option] FAILED" in told
        assert f"[objective-half-{MOVES}] FAILED" in told
        assert "4 failed" in told

    def test_a_plugin_that_fails_is_one_failing_test(self, plugin, tmp_path):
        done = self.run(tmp_path, plugin("vaeflow-broken", "import nowhere"), "vaeflow-broken")
        assert done.returncode == 1
        assert "1 failed" in done.stdout
        assert "No module named 'nowhere'" in done.stdout

    def test_a_check_that_does_not_apply_is_skipped(self):
        test = contract("vaeflow/identity")
        (pending,) = (
            c
            for c in pending_of("vaeflow/identity")
            if str(c) == "posterior-identity-zero_steps_leave_the_base"
        )
        with pytest.raises(pytest.skip.Exception, match="no option 'steps'"):
            test(pending)
