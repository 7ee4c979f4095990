"""The one renderer of findings: the sentence of each kind.

A template is formatted with the finding's `subject`, its `details` and, where it has an estimate,
`value`: the estimate ± its error. A function takes the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vaeflow.evaluation.nuts_sentences import NUTS

Values = Mapping[str, Any]
Sentences = Mapping[str, str | Callable[[Values], str]]

_APART = (
    "On {images:,} simulated examples the bounds on log p(x) from both sides are {value} nats apart"
)


def _gap_split(v: Values) -> str:
    most, least = ("at most ", "at least ") if v["bounds_only"] else ("", "")
    missing = v["may_be_missing"]
    doubt = "" if missing is None else f" (or up to {missing:.2g} more, as log p(x) may be higher)"
    return (
        f"Of {v['value']} nats between log p(x) and the ELBO, {most}{v['approximation']}{doubt} "
        f"are lost to the family of q (approximation), {least}{v['amortization']} to the encoder "
        "(amortization)."
    )


def _not_converged(v: Values) -> str:
    means = "it may be better than that"
    if v["own"]:
        means = "the family's share may be smaller than that, and the encoder's larger"
    gain = v["value"].mean
    return (
        f"The optimization of the local {v['subject']} q has not converged (its last round gained "
        f"{gain:.2g} nats): {means}."
    )


def _calibration_failed(v: Values) -> str:
    return (
        f"Calibration fails in {v['wrong']} of {v['latent']} dimensions (p = {v['p_value']:.2g} "
        f"after Bonferroni, {v['images']:,} simulated examples), most in {v['subject']}, where q "
        f"{_SHAPES[v['shape']]}."
    )


_SHAPES = {
    "narrow": "is too narrow",
    "wide": "is too wide",
    "low": "lies too low",
    "high": "lies too high",
    "other": "has another shape than the posterior",
}


def _nll_differs(v: Values) -> str:
    """Give the size of a clear difference without its sign, which the verb tells."""
    size, low, high = v["value"], v["low"], v["high"]
    verb = "raises"
    if size.mean < 0:
        verb, size, low, high = "lowers", -size, -high, -low
    return (
        f"{v['subject']} {verb} the NLL by {size:.2f} nats against {v['baseline']}, "
        f"{v['pairing']}: 95 % interval {low:.2f} to {high:.2f}, over {v['covers']}."
    )


def _not_comparable(v: Values) -> str:
    told = "; in ".join(f"{d['what']}, {d['one']} and {d['other']}" for d in v["differences"])
    return f"{v['subject']} and {v['other']} are not comparable, as they differ in {told}."


def _settings_differ(v: Values) -> str:
    return (
        f"The posterior is not the only difference between {v['subject']} and the baseline: they "
        f"differ in {', '.join(v['settings'])} too."
    )


def _interval_covers(v: Values) -> str:
    doubt = "" if v["of_seeds"] else ", which may move them by more: two seeds of each group tell"
    return (
        f"The differences of {v['subject']} are {v['pairing']}; their 95 % intervals cover "
        f"{v['covers']}{doubt}."
    )


def _without_partner(v: Values) -> str:
    has, its, it = ("has", "its", "it") if len(v["runs"]) == 1 else ("have", "their", "them")
    return (
        f"{', '.join(v['runs'])} {has} no partner of {its} seed: the difference of {v['subject']} "
        f"from {v['baseline']} leaves {it} out, the other tables do not."
    )


def _not_done(v: Values) -> str:
    return str(v["state"]) + ("" if v["epoch"] is None else f" after epoch {v['epoch']}")


def _pareto_k(v: Values) -> str:
    if v["median"] is not None:
        median = f"{v['median']:.2f} (median)"
    else:  # of infinities, which JSON does not have
        equal = v["share"] < 0.5
        median = "−∞ (median: equal but for rounding)" if equal else "∞ (median)"
    return (
        f"Pareto-k̂ of the weights {median}; above {v['limit']}, where the NLL is not to be "
        f"trusted, at {v['share']:.0%} of the examples"
    )


def _active_units(v: Values) -> str:
    known = f"active units {v['active_units']} of {v['latent']}"
    if not v["undecided_units"]:
        return f"{known}, from {v['images']:,} examples"
    return (
        f"{known}, and {v['undecided_units']} undecided from {v['images']:,} examples: more "
        "examples would tell"
    )


def _nll_draws(v: Values) -> str:
    error = (
        "" if v["error"] is None else f", which leave an error of {v['error']:.2g} nats (median)"
    )
    told = f"the NLL takes {v['mean']:,.0f} draws an example{error}"
    if not v["unsettled"]:
        return told
    return (
        f"{told}; {v['unsettled']:,} of {v['images']:,} examples are not settled to twice "
        f"{v['tolerance']:g} nats: `vaeflow evaluate RUN --referee N` anneals N of them"
    )


def _evaluated_on(v: Values) -> str:
    by = f"q as the proposal and K = {v['samples']:,}"
    if v["proposal"] != "q":
        fitted = "a Gaussian fitted to the posterior of each example"
        also = " and q in equal shares" if v["proposal"] == "mixture" else ""
        by = f"{fitted}{also} as the proposal; under q K = {v['samples']:,}"
    return (
        f"{v['images']:,} examples of the {v['split']} data of {v['subject']}, binarization "
        f"{v['binarization']}; the NLL is measured by importance sampling with {by}."
    )


def _referee(v: Values) -> str:
    count = v["images"]
    return (
        f"annealing of {count} unsettled {'example' if count == 1 else 'examples'} gives an NLL of "
        f"{v['annealed']}, which is {v['value']:+.2f} nats from that of the proposal there"
    )


_EVALUATION: Sentences = {
    "nll-draws": _nll_draws,
    "referee": _referee,
    "collapsed-posterior": (
        "KL(q‖p) is {value:.2f} nats, so z tells next to nothing of x (a collapsed posterior): "
        "more epochs, a warm-up of the KL term (--objective.warmup 10), its free bits "
        "(--objective elbo --objective.free-bits 2) or a weaker decoder may help."
    ),
    "proposal-fell-back": "the proposal of the NLL is {subject}, as {reason}",
    "pareto-k": _pareto_k,
    "active-units": _active_units,
    "information-unknown": "I(x; z) and KL(q(z)‖p) are unknown: {reason}",
    "information-limited": (
        "I(x; z) and KL(q(z)‖p) are estimated from {images:,} examples, and so I(x; z) cannot come "
        "out above their logarithm, {limit:.2f} nats"
    ),
}

_DIAGNOSIS: Sentences = {
    "units-undecided": (
        "Of {latent} latent dimensions {active_units} are active and {undecided_units} undecided "
        "from {images:,} examples: more --images tell."
    ),
    "gap-not-distinguishable": (
        "The {value} nats between log p(x) and the ELBO are not distinguishable from 0: there is "
        "no gap to split."
    ),
    "gap-not-split": "Between log p(x) and the ELBO are {value} nats; they were not split.",
    "gap-split": _gap_split,
    "share-not-distinguishable": "The share of the {subject} is not distinguishable from 0.",
    "encoder-beats-local": (
        "The encoder's q is better than the local {subject} q that was found: the family's share "
        "is too large by {value} nats at least."
    ),
    "family-closes": (
        "A local {subject} q closes {value} nats of the family's share and leaves {left}."
    ),
    "family-loses": "A local {subject} q loses {value} nats more than a local {own} q.",
    "family-not-distinguishable": (
        "A local {subject} q differs from a local {own} q by {value} nats, which are not "
        "distinguishable from 0."
    ),
    "optimization-failed": (
        "The optimization of the local {subject} q did not converge: it lost {value} nats more "
        "than a local {contained} q, a special case of it."
    ),
    "not-converged": _not_converged,
    "bounded-from-below": (
        "log p(x) is bounded from below only, by {subject}: without annealing, nothing tells how "
        "far above it lies."
    ),
    "bracket-too-wide": (
        f"{_APART}, too far: do not trust the family's share; more --temperatures help."
    ),
    "bracket-unsure": (
        f"{_APART}, maybe too far: the family's share is not sure; more --images tell."
    ),
    "bracket-closed": f"{_APART}, which is not distinguishable from 0.",
    "bracket": (
        f"{_APART}: at most as much may be missing from log p(x) and from the family's share."
    ),
    "calibration-passed": (
        "Calibration finds nothing wrong with {subject} (p = {p_value:.2g} after Bonferroni, "
        "{images:,} simulated examples)."
    ),
    "calibration-failed": _calibration_failed,
}

_COMPARISON: Sentences = {
    "nll-differs": _nll_differs,
    "nll-not-distinguishable": (
        "{subject} cannot be told apart from {baseline} in NLL, {pairing}: the difference is "
        "{value:+.2f} nats, 95 % interval {low:+.2f} to {high:+.2f}, over {covers}."
    ),
    "evaluated-on": _evaluated_on,
    "errors-over-seeds": "± is the standard error over seeds.",
    "errors-over-images": (
        "± is the standard error over examples, not over seeds, for {subject}: one seed each."
    ),
    "differences-paired": (
        "Differences are taken example by example, and seed by seed where seeds are shared; the "
        "last column tells the parts of the NLL's ± apart."
    ),
    "interval-covers": _interval_covers,
    "runs-without-partner": _without_partner,
    "settings-differ": _settings_differ,
    "weights-not-trusted": (
        "Pareto-k̂ of the importance weights is above {limit} for {share:.0%} of the examples of "
        "{subject}: the NLL there is not to be trusted, nor are differences in it."
    ),
    "not-comparable": _not_comparable,
    "threads-differ": "Times are of different numbers of threads.",
    "machine-shared": "Times of {subject} are of {jobs} runs that shared the machine.",
    "benchmark-not-done": (
        "{done} of {total} runs of {subject} are done; the same `vaeflow benchmark` goes on."
    ),
    "baseline-unknown": "Nothing is compared, {reason}.",
    "baseline-not-unique": (
        "{subject}: not compared, as no baseline, or more than one, is like it in all but the "
        "posterior; --baseline chooses one."
    ),
    "images-differ": "{subject} and {baseline} are of other examples: no difference.",
    "baseline-not-named": (
        "All groups are {subject}, so there are no differences: --baseline names the one that the "
        "others are compared with, such as --baseline '{example}'."
    ),
    "baseline-missing": (
        "No diagonal Gaussian ({subject}) is among them, so there are no differences: --baseline "
        "names another, once there are two groups."
    ),
}

# Of runs that are left out of a comparison: the words beside the run's name in a table.
_LEFT_OUT: Sentences = {
    "run-not-begun": "not begun",
    "run-not-done": _not_done,
    "run-failed": "{reason}",
    "run-not-evaluated": "trained but not evaluated: `vaeflow resume` does it",
    "run-fitted-in-python": (
        "fitted in Python to arrays that it does not hold: compare figures of "
        "vaeflow.evaluate(vaeflow.load(RUN), x), or write the arrays to a file and train with "
        "--dataset file and --dataset.path FILE"
    ),
    "run-lacks-evaluation": "no evaluation with {way}",
    "run-waits-for-evaluation": "not evaluated yet",
    "run-damaged": "its files are damaged: {reason}",
    "run-repeated": "the same configuration and seed as {other}, so left out",
}

SENTENCES: Sentences = {
    "unused-code": (
        "The latent code of {subject} is unused ({active_units:.2g} active units): q hardly "
        "depends on the example, and no posterior can make a difference; a warm-up of the KL term "
        "(--objective.warmup) or more epochs may bring the code into use."
    ),
    **_EVALUATION,
    **_DIAGNOSIS,
    **NUTS,
    **_COMPARISON,
    **_LEFT_OUT,
}
