"""Checks that every part can be held to, with verdicts for the shell and tests for pytest.

test_contract = contract("vaeflow-skew")     # a plugin's whole test file
for verdict in verdicts("vaeflow-skew"): …   # as `vaeflow plugins check` prints them
contract("vaeflow-skew", options={"posterior": {"reach": 1}})  # with an option that it requires
check("posterior", Skew)                     # all checks of a kind, raising on the first
checks("posterior")                          # the checks themselves, with their meanings
"""

from vaeflow.testing.noise import GivenNoise
from vaeflow.testing.option_sets import variants
from vaeflow.testing.pending import Verdict
from vaeflow.testing.probes import far_from_start
from vaeflow.testing.registered import Check, NotApplicable
from vaeflow.testing.running import check, checks, contract, verdicts

__all__ = [
    "Check",
    "GivenNoise",
    "NotApplicable",
    "Verdict",
    "check",
    "checks",
    "contract",
    "far_from_start",
    "variants",
    "verdicts",
]
