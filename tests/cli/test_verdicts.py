"""The verdicts of a part as lines: failures in full, the rest as a summary, and the time."""

from vaeflow.cli.verdicts import BUDGET, CORE, SLOW, part_lines
from vaeflow.testing import Verdict


def verdict(check="one", state="passed", seconds=0.0, reason="", **options):
    return Verdict("posterior skew", options, check, "", state, reason, seconds)


def test_passed_checks_are_counted_not_listed():
    found = [verdict(f"check_{i}", steps=s) for i in range(30) for s in (1, 2, 3)]
    assert [*part_lines(found)] == [
        "posterior skew",
        "  tried 3 sets of options: the defaults; steps 1, 2, 3",
        "  90 passed",
    ]
    assert len([*part_lines(found, every=True)]) == 33


def test_a_failure_stands_once_and_names_other_sets_of_options():
    found = [verdict("one", "failed", reason=f"off by {s}", steps=s) for s in range(9)]
    lines = [*part_lines(found)]
    assert lines[2:4] == [
        "  ✗ one with steps=0: off by 0",
        "    and with steps=1; steps=2; steps=3; and 5 more sets, which -v shows",
    ]
    every = [*part_lines(found, every=True)]
    assert [f"  ✗ one with steps={s}: off by {s}" for s in range(9)] == every[2:-1]


def test_exemptions_and_what_was_not_checked_have_lines():
    found = [
        verdict("one", "exempt", reason="art"), verdict("two", "not applicable", reason="no steps"),
        verdict(CORE, "not applicable", reason="no data"), verdict("three"),
    ]  # fmt: skip
    assert [*part_lines(found)] == [
        "posterior skew",
        "  tried the defaults",
        "  – one (exempt): art",
        f"  – {CORE} (not applicable): no data",
        "  1 passed, 2 not applicable, 1 exempt",
    ]
    assert "  – two (not applicable): no steps" in [*part_lines(found, every=True)]


def test_the_time_is_told_where_it_matters():
    assert next(iter(part_lines([verdict(seconds=0.9 * SLOW)]))) == "posterior skew"
    assert next(iter(part_lines([verdict(seconds=SLOW)]))) == f"posterior skew ({SLOW:.1f} s)"
    found = [verdict("long", seconds=BUDGET), verdict("short", seconds=1.0)]
    lines = [*part_lines(found)]
    assert lines[0] == "posterior skew (11.0 s)"
    assert lines[-1] == (
        "  took 11 s where a part has 10 s: long 10.0 s, short 1.0 s for 1 sets of options"
    )
