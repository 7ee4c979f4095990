"""Finished runs side by side: groups of seeds, and their differences from a baseline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from vaeflow.comparison.comparison import DATA, Comparison
from vaeflow.comparison.finished import Finished
from vaeflow.comparison.groups import BASELINE, Group, Versus, choose_baselines, group_runs
from vaeflow.errors import ConfigError
from vaeflow.evaluation.findings import Finding
from vaeflow.text import show


def compare(
    found: Sequence[Finished | Finding],
    *,
    parameters: Callable[[Finished], int],
    baseline: str | None = None,
    anyway: bool = False,
    lenient: bool = False,
    notes: Iterable[Finding] = (),
) -> Comparison:
    """Compare runs on the same images.

    Arguments:
        found: the runs, or findings on runs that are not finished, in the order of the tables.
        parameters: counts the parameters of a run's model.
        baseline: the posterior, or the label of the group, that the others are compared with; by
            default identity.
        anyway: compare runs that differ in their data or K, and note it.
        lenient: note that the baseline is not there, instead of raising.
        notes: findings that were made before.

    Raises:
        ConfigError: if no run is finished, if runs differ in their data or K, or if the baseline is
            not there.
    """
    runs = [run for run in found if isinstance(run, Finished)]
    left_out = [run for run in found if isinstance(run, Finding)]
    if not runs:
        why = f", {left_out[0].subject}: {left_out[0]}" if left_out else ""
        raise ConfigError(f"no run is finished{why}")
    said = [*notes, *_not_comparable(runs, anyway=anyway)]
    if len({run.environment["threads"] for run in runs}) > 1:
        said.append(Finding("threads-differ", severity="warning"))
    groups, repeated = group_runs(runs, parameters)
    try:
        bases = choose_baselines(groups, baseline)
    except ConfigError as error:
        if not lenient:
            raise
        bases = {}
        said.append(Finding("baseline-unknown", baseline or "", details={"reason": str(error)}))
    versus, more = _differences(groups, bases)
    said += more
    if not bases and baseline is None:
        said += _why_no_baseline(groups)
    return Comparison(tuple(groups), versus, (*left_out, *repeated), tuple(said))


def _not_comparable(runs: Sequence[Finished], *, anyway: bool) -> Iterator[Finding]:
    """Yield a warning of the first run that differs from runs[0] in its data or K.

    Raises:
        ConfigError: in its place, unless they are compared anyway.
    """
    first = runs[0]
    for run in runs[1:]:
        if differences := [*_data_differences(first, run)]:
            details = {"other": run.name, "differences": differences}
            found = Finding("not-comparable", first.name, severity="warning", details=details)
            if not anyway:
                raise ConfigError(f"{str(found)[:-1]}: leave some out, or give --anyway")
            yield found
            return


def _data_differences(one: Finished, other: Finished) -> Iterator[Mapping[str, str]]:
    for key, what in DATA.items():
        yield from _pair(what, *(show(run.stored.about[key]) for run in (one, other)))
    yield from _pair("what is scored", one.scores, other.scores)


def _pair(what: str, one: str, other: str) -> Iterator[Mapping[str, str]]:
    if one != other:
        yield {"what": what, "one": _cut(one), "other": _cut(other)}


def _cut(text: str) -> str:
    """Return the beginning of a checksum, and any other text whole."""
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text


def _differences(
    groups: Sequence[Group], bases: Mapping[str, Group | None]
) -> tuple[dict[str, Versus], list[Finding]]:
    """Return the difference of each group from its baseline, and why a group has none."""
    versus: dict[str, Versus] = {}
    lacking: list[Finding] = []
    for group in groups:
        if group.label not in bases:
            continue
        if (base := bases[group.label]) is None:
            lacking.append(Finding("baseline-not-unique", group.label))
        elif group.about["images_sha256"] != base.about["images_sha256"]:
            details = {"baseline": base.label}
            lacking.append(Finding("images-differ", group.label, details=details))
        else:
            versus[group.label] = Versus.of(group, base)
    return versus, lacking


def _why_no_baseline(groups: Sequence[Group]) -> Iterator[Finding]:
    """Yield why there are no differences, unless a single baseline is all there is."""
    posteriors = {g.posterior for g in groups}
    if len(groups) > 1 and len(posteriors) == 1:
        details = {"example": groups[0].label}
        yield Finding("baseline-not-named", posteriors.pop(), details=details)
    elif BASELINE not in posteriors:
        yield Finding("baseline-missing", BASELINE)
