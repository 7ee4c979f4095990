"""The checks tell right flows of other libraries from wrong ones."""

import re

import pytest

from vaeflow.testing import checks


def verdict(script, name):
    asked = [check for check in checks("posterior") if check.name in script.DENSITY]
    assert len(asked) == len(script.DENSITY)
    return script.verdict(script.judge(script.part(name), asked))


@pytest.mark.parametrize("name", ["planar", "radial", "IAF", "Householder", "MAF", "NICE"])
def test_a_right_flow_is_called_right(script, name):
    assert verdict(script, name) == "right"


def test_pyros_sylvester_is_called_wrong(script):
    said = verdict(script, "Sylvester")
    assert said.startswith("**wrong**: log q is off by")
    assert max(float(nats) for nats in re.findall(r"([\d.e-]+) nats", said)) > 0.1
