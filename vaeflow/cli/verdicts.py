"""The verdicts of `vaeflow plugins check` as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vaeflow.text import show

if TYPE_CHECKING:
    from vaeflow.testing import Verdict

CORE = "runs_a_core_check"
# The worst verdict of a check over the sets of options stands for all.
MARKS = {"failed": "✗", "exempt": "–", "not applicable": "–", "passed": "✓"}
SLOW, BUDGET = 3.0, 10.0  # seconds from which a part's time is told, and those that a part has


def part_lines(verdicts: Sequence[Verdict], *, every: bool = False) -> Iterator[str]:
    """Give the lines of one part: what was tried, failures, exemptions, and a summary.

    Arguments:
        verdicts: of all checks of the part, under all sets of options.
        every: whether each check has a line, and each failure under each set of options.
    """
    seconds = sum(verdict.seconds for verdict in verdicts)
    took = f" ({seconds:.1f} s)" if seconds >= SLOW else ""
    yield f"{verdicts[0].subject}{took}"
    if tried := _tried(verdicts):
        yield f"  tried {tried}"
    by_check: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_check.setdefault(verdict.check, []).append(verdict)
    for check, each in by_check.items():
        worst = min(each, key=lambda verdict: [*MARKS].index(verdict.state))
        if worst.state == "failed":
            yield from _failure(check, [v for v in each if v.state == "failed"], every=every)
        elif worst.state == "passed":
            yield from [f"  ✓ {check}"] * every
        elif every or worst.state == "exempt" or check == CORE:
            yield f"  – {check} ({worst.state}): {worst.reason}"
    yield f"  {counts(verdicts)}"
    if seconds > BUDGET:
        yield f"  {_slowest(by_check, seconds)}"


def counts(verdicts: Iterable[Verdict]) -> str:
    """Return how many verdicts there are of each state, such as "✓ 40 passed, – 3 exempt"."""
    count = Counter(verdict.state for verdict in verdicts)
    order = [*MARKS][::-1]
    return ", ".join(f"{count[state]} {state}" for state in order if count[state])


def _failure(check: str, failed: Sequence[Verdict], *, every: bool) -> Iterator[str]:
    """Give the first failure of a check and the other sets of options with which it fails."""
    for verdict in failed if every else failed[:1]:
        chosen = _told(verdict)
        where = f" with {chosen}" if chosen else ""
        yield f"  ✗ {check}{where}: {verdict.reason}"
    if len(failed) > 1 and not every:
        others = "; ".join(_told(verdict) or "the defaults" for verdict in failed[1:4])
        more = f"; and {len(failed) - 4} more sets, which -v shows" if len(failed) > 4 else ""
        yield f"    and with {others}{more}"


def _told(verdict: Verdict) -> str:
    return ", ".join(f"{name}={show(value)}" for name, value in verdict.options.items())


def _tried(verdicts: Iterable[Verdict]) -> str:
    """Tell the sets of options by the values of each option; "" where a part had none."""
    sets = {_told(v): v.options for v in verdicts if v.check != CORE and v.subject != "package"}
    values: dict[str, list[str]] = {}
    for options in sets.values():
        for name, value in options.items():
            values.setdefault(name, []).append(show(value))
    given = {n: v[0] for n, v in values.items() if len(v) == len(sets) and len({*v}) == 1}
    fixed = ", ".join(f"{name}={value}" for name, value in given.items())
    if len(sets) < 2:
        return fixed or ("the defaults" if sets else "")
    told = [f"{n} {', '.join(dict.fromkeys(v))}" for n, v in values.items() if n not in given]
    base = f"{fixed} and the defaults" if fixed else "the defaults"
    return f"{len(sets)} sets of options: {'; '.join([base, *told])}"


def _slowest(by_check: dict[str, list[Verdict]], seconds: float) -> str:
    """Tell what took the time of a part that took more than it has."""
    spent = {check: sum(v.seconds for v in each) for check, each in by_check.items()}
    first = sorted(spent, key=lambda check: -spent[check])[:3]
    told = ", ".join(f"{check} {spent[check]:.1f} s" for check in first)
    sets = max(len(each) for each in by_check.values())
    return (
        f"took {seconds:.0f} s where a part has {BUDGET:.0f} s: {told} for {sets} sets of options"
    )
