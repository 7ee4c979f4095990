"""The findings of a comparison: its results, how its tables are read, and reasons for doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vaeflow.comparison.groups import Group, Versus
from vaeflow.comparison.labels import short
from vaeflow.evaluation.findings import Finding
from vaeflow.evaluation.pareto import UNRELIABLE

_USED = 0.5  # active units, the mean over seeds
_MANY = 0.1  # of the images: so many unreliable weights move the mean
_NEUTRAL = {"device", "compile", "capture"}  # they change where and how fast it is computed


def results(versus: Mapping[str, Versus]) -> Iterator[Finding]:
    """Yield the difference in NLL of each group that has a baseline."""
    for label, against in versus.items():
        nll = against.nll
        yield Finding(
            "nll-differs" if nll.clear else "nll-not-distinguishable",
            label,
            nll.mean,
            nll.standard_error,
            "result",
            {
                "baseline": against.baseline,
                "low": nll.low,
                "high": nll.high,
                "covers": nll.covers,
                "pairing": str(nll.pairing),
            },
        )


def readings(groups: Sequence[Group], versus: Mapping[str, Versus]) -> Iterator[Finding]:
    """Yield notes on the data, the errors and the intervals of the tables."""
    about = groups[0].about
    known = {
        name: about[name] for name in ("images", "split", "binarization", "proposal", "samples")
    }
    yield Finding("evaluated-on", short(about["dataset"]), details=known)
    single = [g.label for g in groups if len(g.runs) == 1]
    if len(single) < len(groups):
        yield Finding("errors-over-seeds")
        for label in single:
            yield Finding("errors-over-images", label)
    else:
        yield Finding("errors-over-images", "all groups")
    if versus:
        yield Finding("differences-paired")
    for label, against in versus.items():
        details = {
            "covers": against.nll.covers,
            "pairing": str(against.pairing),
            "of_seeds": against.nll.of_seeds is not None,
        }
        yield Finding("interval-covers", label, details=details)
    for label, against in versus.items():
        if against.left_out:
            found = {"baseline": against.baseline, "runs": [*against.left_out]}
            yield Finding("runs-without-partner", label, details=found)


def cautions(groups: Sequence[Group], versus: Mapping[str, Versus]) -> Iterator[Finding]:
    """Yield warnings of unused codes, of settings that differ, and of weights not to trust."""
    for group in groups:
        active = group.mean(lambda run: run.active_units)
        undecided = group.mean(lambda run: run.undecided_units)
        if active is not None and undecided is not None and active.mean + undecided.mean < _USED:
            details = {"active_units": active.mean}
            yield Finding("unused-code", group.label, severity="warning", details=details)
    by_label = {g.label: g for g in groups}
    for label, against in versus.items():
        one, other = by_label[label], by_label[against.baseline]
        if (settings := _settings(one, other)) and _posterior(one) != _posterior(other):
            yield Finding(
                "settings-differ", label, severity="warning", details={"settings": settings}
            )
    for group in groups:
        if (share := _unreliable(group)) > _MANY:
            details = {"share": share, "limit": UNRELIABLE}
            yield Finding("weights-not-trusted", group.label, severity="warning", details=details)


def _settings(one: Group, other: Group) -> list[str]:
    """Return the names of settings, beside the posterior's, in which two groups differ."""
    return [
        key.replace("_", " ")
        for key in dict.fromkeys((*one.config, *other.config))
        if one.config.get(key) != other.config.get(key)
        and not key.startswith("posterior.")
        and key not in _NEUTRAL
    ]


def _posterior(group: Group) -> dict[str, object]:
    return {k: v for k, v in group.config.items() if k.startswith("posterior.")}


def _unreliable(group: Group) -> float:
    """Return the share of images whose weights are not to be trusted, the mean over seeds."""
    above = [run.stored.bounds.pareto_k > UNRELIABLE for run in group.runs]
    return sum(each.double().mean().item() for each in above) / len(above)
