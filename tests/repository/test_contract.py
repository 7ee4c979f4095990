"""Every built-in part keeps the contract of its kind, under every choice that its options offer."""

import vaeflow.testing
from vaeflow.plugins.registry import KINDS

test_contract = vaeflow.testing.contract(
    "vaeflow",
    also={
        "iaf": [{"steps": 2, "width": 8, "depth": 2}],
        "mlp": [{"hidden": ()}],
        "conv": [{"channels": (3,), "kernel": 5}],
        "gated-conv": [{"channels": (3,), "kernel": 3}],
        "resnet": [{"channels": (4,), "blocks": 1}],
        "categorical": [{"levels": 17}],
        "discretized-logistic": [{"levels": 17}, {"levels": 2, "scale": "pixel"}],
        "discretized-logistic-mixture": [{"levels": 17, "components": 1}],
        "negative-binomial": [{"dispersion": "fixed", "r": 50.0}],
        "elbo": [
            {"samples": 3, "warmup": 5.0},
            {"kl": "analytic", "beta": 2.0},
        ],
    },
)


def test_every_kind_has_checks():
    assert all(vaeflow.testing.checks(kind) for kind in (*KINDS, "package"))


def test_every_check_has_a_name_and_a_meaning_in_one_sentence():
    for kind in (*KINDS, "package"):
        found = vaeflow.testing.checks(kind)
        assert len({check.name for check in found}) == len(found)
        assert all(check.meaning.endswith(".") for check in found)
