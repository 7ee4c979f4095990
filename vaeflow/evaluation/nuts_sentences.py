"""The sentences of what NUTS says of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Values = Mapping[str, Any]


def _examples(v: Values) -> str:
    return f"{v['images']:,} example{'s' * (v['images'] != 1)}"


def _posterior(v: Values) -> str:
    ratio = v["value"]
    error = 2 * (ratio.standard_error or 0.0)
    is_ = "is about as wide as"
    if abs(ratio.mean - 1) > max(error, 0.02):
        is_ = "is narrower than" if ratio.mean < 1 else "is wider than"
    return (
        f"By NUTS on {_examples(v)}, q {is_} the posterior: its standard deviations are "
        f"{ratio:.3f} times as large, and its mean is off by {v['shift']:.3f} standard deviations "
        "of the posterior."
    )


def _agrees(v: Values) -> str:
    return (
        f"NUTS agrees with {v['subject']} on log p(x) of {_examples(v)}: {v['subject']} is "
        f"{v['value']:+.3f} nats from its estimate."
    )


def _differs(v: Values) -> str:
    side = "below" if v["value"].mean < 0 else "above"
    size = -v["value"] if v["value"].mean < 0 else v["value"]
    return (
        f"NUTS does not agree with {v['subject']} on log p(x) of {_examples(v)}: {v['subject']} is "
        f"{size:.3f} nats {side} its estimate."
    )


def _not_settled(v: Values) -> str:
    return (
        f"The chains of NUTS have not settled on {v['left']:,} of {_examples(v)} (largest R̂ "
        f"{v['r_hat']:.2f}, fewest effective draws {v['effective']:,.0f}), which are left out of "
        "what it says."
    )


NUTS: Mapping[str, str | Callable[[Values], str]] = {
    "nuts-posterior": _posterior,
    "nuts-agrees": _agrees,
    "nuts-differs": _differs,
    "nuts-not-settled": _not_settled,
}
