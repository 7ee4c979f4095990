"""What speaks against reading a comparison as one of posteriors."""

from __future__ import annotations

from vaeflow.comparison.compare import Comparison, Group
from vaeflow.evaluation.pareto import UNRELIABLE

_USED = 0.5  # active units, the mean over seeds
_MANY = 0.1  # of the images: so many unreliable weights move the mean
_NEUTRAL = {"device", "compile", "capture"}  # they change where and how fast it is computed


def cautions(comparison: Comparison) -> list[str]:
    """Return a sentence on each of: unused codes, settings that differ, weights not to trust."""
    return [*_unused(comparison), *_differ(comparison), *_unreliable(comparison)]


def _unused(comparison: Comparison) -> list[str]:
    units = [(g.label, g.figure(lambda r: r.active_units)) for g in comparison.groups]
    labels = [label for label, active in units if active is not None and active.mean < _USED]
    if not labels:
        return []
    return [
        f"The code is unused (fewer than {_USED} active units) by {', '.join(labels)}, so that no "
        "posterior can make a difference there: a warm-up of the KL term (--objective.warmup) or "
        "more epochs may bring it into use."
    ]


def _differ(comparison: Comparison) -> list[str]:
    groups = {g.label: g for g in comparison.groups}
    found: dict[tuple[str, ...], list[str]] = {}
    for label, versus in comparison.versus.items():
        one, other = groups[label], groups[versus.baseline]
        if (settings := _settings(one, other)) and _posterior(one) != _posterior(other):
            found.setdefault(settings, []).append(label)
    return [
        f"What tells {', '.join(labels)} from the baseline is not the posterior alone: they differ "
        f"in {', '.join(settings)} too."
        for settings, labels in found.items()
    ]


def _settings(one: Group, other: Group) -> tuple[str, ...]:
    """Return in words what two groups differ in besides the posterior."""
    return tuple(
        key.replace("_", " ")
        for key in dict.fromkeys((*one.config, *other.config))
        if one.config.get(key) != other.config.get(key)
        and not key.startswith("posterior.")
        and key not in _NEUTRAL
    )


def _posterior(group: Group) -> dict[str, object]:
    return {k: v for k, v in group.config.items() if k.startswith("posterior.")}


def _unreliable(comparison: Comparison) -> list[str]:
    shares = {
        g.label: sum(
            (r.stored.figures.pareto_k > UNRELIABLE).double().mean().item() for r in g.runs
        )
        / len(g.runs)
        for g in comparison.groups
    }
    told = [f"{label} ({share:.0%})" for label, share in shares.items() if share > _MANY]
    if not told:
        return []
    return [
        f"Pareto-k̂ of the importance weights is above {UNRELIABLE} for many images of "
        f"{', '.join(told)}: there the NLL is not to be trusted, nor are differences in it."
    ]
