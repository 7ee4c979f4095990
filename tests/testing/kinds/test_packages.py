"""Every check of a plugin's distribution can fail."""

import sys

import pytest

from vaeflow.testing import checks, verdicts

HOOKS = """
from vaeflow import hookimpl

@hookimpl
def vaeflow_register_objectives(register):
    register("half", "half_parts:Half")
"""
PARTS = '''
from vaeflow.parts import Objective

class Half(Objective):
    """Half of the bound.

    Options:
        share: what is left of it.
    """

    def __init__(self, *, share: float = 1.0) -> None:
        super().__init__()

    def __call__(self, terms, beta):
        return terms.log_weight.mean(0)
'''
NEEDS = ("vaeflow>=0.1,<2",)
CHECKS = {check.name: check for check in checks("package")}
# What is changed in the distribution, and the check that it fails.
BUGS = {
    "vaeflow not required": ({"needs": ()}, "requires_vaeflow_between_bounds"),
    "no lower bound": ({"needs": ("vaeflow<2",)}, "requires_vaeflow_between_bounds"),
    "no upper bound": ({"needs": ("vaeflow>=0.1",)}, "requires_vaeflow_between_bounds"),
    "torch pinned": ({"needs": (*NEEDS, "torch==2.6.0")}, "leaves_torch_to_the_user"),
    "torch bounded": ({"needs": (*NEEDS, "torch>=2.6,<3")}, "leaves_torch_to_the_user"),
    "no version": ({"version": "first"}, "has_a_valid_version"),
    "hooks with torch": ({"hooks": "import torch\n" + HOOKS}, "names_its_parts_without_torch"),
    "hooks that fail": ({"hooks": "import nowhere\n"}, "names_its_parts_without_torch"),
    "no docstring": (
        {"parts": PARTS.replace('    """Half', '    _ = """Half')}, "explains_every_part"
    ),
    "no meaning": ({"parts": PARTS.replace("share: what", "part: what")}, "explains_every_option"),
    "no type": ({"parts": PARTS.replace("share: float", "share")}, "explains_every_option"),
}  # fmt: skip


@pytest.fixture
def install(plugin):
    def install(needs=NEEDS, version="1.0", hooks=HOOKS, parts=PARTS):
        site = plugin("vaeflow-half", hooks, version=version)
        with next(site.glob("*.dist-info/METADATA")).open("a") as f:
            f.writelines(f"Requires-Dist: {needed}\n" for needed in needs)
        (site / "half_parts.py").write_text(parts)

    yield install
    sys.modules.pop("half_parts", None)


@pytest.mark.parametrize("bug", BUGS)
def test_the_named_check_catches_the_bug(bug, install):
    change, name = BUGS[bug]
    install(**change)
    with pytest.raises(AssertionError):
        CHECKS[name]("vaeflow-half")


def test_every_check_catches_a_bug():
    assert {name for _, name in BUGS.values()} == set(CHECKS)


def test_requirements_of_extras_do_not_count(install):
    install(needs=(*NEEDS, 'torch==2.6.0; extra == "dev"'))
    CHECKS["leaves_torch_to_the_user"]("vaeflow-half")


def test_the_right_parts_pass(install):
    install()
    found = [v for v in verdicts("vaeflow-half") if v.subject == "package"]
    assert {v.check: v.reason for v in found if v.state != "passed"} == {}
    assert len(found) == len(CHECKS)
