"""The checks know other people's right flows from their wrong ones."""

import re
import sys
from pathlib import Path

import pytest

from vaeflow.testing import checks

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def audit():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import audit

        yield audit
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("audit", "common"):
            sys.modules.pop(name, None)


def verdict(audit, name):
    laws = [law for law in checks("posterior") if law.name in audit.DENSITY]
    assert len(laws) == len(audit.DENSITY)
    return audit.verdict(audit.judge(audit.part(name), laws))


@pytest.mark.parametrize("name", ["planar", "radial", "IAF", "Householder", "MAF", "NICE"])
def test_a_flow_that_is_right(audit, name):
    assert verdict(audit, name) == "right"


def test_pyros_sylvester_is_wrong(audit):
    said = verdict(audit, "Sylvester")
    assert said.startswith("**wrong**: log q is off by")
    assert max(float(nats) for nats in re.findall(r"([\d.e-]+) nats", said)) > 0.1
