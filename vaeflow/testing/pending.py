"""Checks that are still to be run, each of one part under one set of options, and verdicts."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from vaeflow.errors import did_you_mean
from vaeflow.options import validate
from vaeflow.testing.option_sets import Options
from vaeflow.testing.registered import REGISTER, Check, MakePart, NotApplicable, Unavailable
from vaeflow.text import show

CORE = "runs_a_core_check"
UNAVAILABLE = "unavailable"  # a state of its own until the verdict, where it does not apply


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check of one part under one set of options.

    An exempt check was run and failed, as its exemption says. `reason` tells in one line why the
    state is another than "passed".
    """

    subject: str  # such as "posterior planar", or "package"
    options: Options  # only options that differ from their defaults
    check: str
    meaning: str
    state: str  # "passed", "failed", "exempt" or "not applicable"
    reason: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class PendingCheck:
    """A check of one part under one set of options, still to be run."""

    subject: str
    check: Check
    part: Any  # the class, or the name of a distribution
    options: Options = field(default_factory=dict)
    others: Sequence[Options] = ()  # all sets of options of the part, `options` among them
    exemption: str | None = None
    # Of each check of the part, with the options that it ran with: state and reason.
    seen: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        """Return a name such as "posterior-planar(steps=0)-covers_the_plane_once"."""
        told = told_options(self.options)
        where = f"({told})" if told else ""
        return f"{self.subject.replace(' ', '-')}{where}-{self.check.name}"

    def run(self) -> tuple[Verdict, BaseException | None]:
        """Run the check; return the verdict and, where it failed, the error."""
        start = perf_counter()
        state, reason, error = self._outcome(self.options)
        if self.exemption is not None and state == "failed":
            state, reason, error = "exempt", self.exemption, None
        elif self._stale(state):
            state = "failed"
            reason = f"exempt ({self.exemption!r}) but passes: remove the exemption"
        state = "not applicable" if state == UNAVAILABLE else state
        verdict = Verdict(
            self.subject, self.options, self.check.name, self.check.meaning, state, reason,
            perf_counter() - start,
        )  # fmt: skip
        return verdict, error

    def outcome(self, options: Options) -> tuple[str, str]:
        """Return state and reason under a set of options, exemptions aside; run it if need be."""
        key = self._key(options)
        return self.seen[key] if key in self.seen else self._outcome(options)[:2]

    def _key(self, options: Options) -> str:
        return f"{self.check.name} {told_options(options)}"

    def _stale(self, state: str) -> bool:
        """Tell whether the check is exempt, passes, and fails under none of the other options."""
        if self.exemption is None or state != "passed":
            return False
        return all(self.outcome(options)[0] != "failed" for options in self.others)

    def _outcome(self, options: Options) -> tuple[str, str, BaseException | None]:
        state, reason, caught = "passed", "", None
        try:
            self.check(self._with(options))
        except KeyboardInterrupt:
            raise
        except NotApplicable as error:
            unavailable = isinstance(error, Unavailable)
            state, reason = UNAVAILABLE if unavailable else "not applicable", _line(error)
        except BaseException as error:  # a part may raise anything, even SystemExit
            state, reason, caught = "failed", _line(error) + self._place(error), error
        self.seen[self._key(options)] = state, reason
        return state, reason, caught

    def _place(self, error: BaseException) -> str:
        """Return the line of the part's own module in which an exception arose."""
        if isinstance(error, AssertionError) or not isinstance(self.part, type):
            return ""
        for frame, line in [*traceback.walk_tb(error.__traceback__)][::-1]:
            if frame.f_globals.get("__name__") == self.part.__module__:
                return f" (line {line} of {self.part.__module__})"
        return ""

    def _with(self, options: Options) -> MakePart | str:
        if not isinstance(self.part, type):
            return str(self.part) if isinstance(self.part, str) else self.part
        return partial(self.part, **validate(self.part, options, self.check.kind))


def told_options(options: Options) -> str:
    """Return options as text, such as "steps=0,init=glorot"."""
    return ",".join(f"{name}={show(value)}" for name, value in options.items())


def _line(error: BaseException) -> str:
    """Return an error in one line; an assertion and a reason speak for themselves."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError | NotApplicable) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def pending_checks(
    subject: str, kind: str, part: Any, sets: Sequence[Options], *, lenient: bool = False
) -> Iterator[PendingCheck]:
    """Yield each check of a kind for each set of options, then whether a core check could be run.

    A false exemption is a failing check.

    Arguments:
        subject: the part's name in verdicts.
        kind: the kind of part.
        part: its class, or functools.partial of it.
        sets: the sets of options to try.
        lenient: whether a data set without its files may go unchecked.
    """
    exemptions: Mapping[str, str] = getattr(part, "exemptions", {})
    names = [*(check.name for check in REGISTER[kind]), CORE]
    for name in sorted(set(exemptions) - set(names)):
        yield failing(
            subject, kind, name, "An exemption names a check of the part's kind.",
            f"there is no check {name!r} to exempt from{did_you_mean(name, names)}: correct it",
        )  # fmt: skip
    seen: dict[str, tuple[str, str]] = {}
    core: list[PendingCheck] = []
    for i, options in enumerate(sets):
        for check in REGISTER[kind]:
            if i and check.once:
                continue
            exemption = exemptions.get(check.name)
            others = [options] if check.once else sets
            pending = PendingCheck(subject, check, part, options, others, exemption, seen)
            core += [pending] if check.core else []
            yield pending
    yield core_check(subject, kind, lambda: _no_core(core, lenient), exemptions.get(CORE))


def _no_core(core: Sequence[PendingCheck], lenient: bool) -> str:
    """Return why no core check could be run, or "" where one could.

    Raises:
        Unavailable: if there are no files to check, and that is no failure.
    """
    reasons: dict[str, str] = {}
    states = set()
    for pending in core:
        state, reason = pending.outcome(pending.options)
        if state == "failed" and pending.exemption is not None:
            state, reason = "exempt", pending.exemption
        if state in ("passed", "failed"):
            return ""
        states.add(state)
        does = "is exempt" if state == "exempt" else "does not apply"
        reasons.setdefault(pending.check.name, f"{pending.check.name} {does} ({reason})")
    if states == {UNAVAILABLE}:
        reason = core[0].outcome(core[0].options)[1]
        if lenient:
            raise Unavailable(reason)
        return f"no core check could be run: {reason}"
    cure = "offer options with which one applies"
    if "exempt" in states:
        cure = f"remove an exemption, or exempt the part from {CORE} too, with the reason"
    return f"no core check could be run, as {', '.join(reasons.values())}: {cure}"


def core_check(
    subject: str, kind: str, why_not: Callable[[], str], exemption: str | None = None
) -> PendingCheck:
    """Return the check that fails with the reason why no core check could be run, if there is one.

    The reason is asked for as the check runs.
    """

    def runs_a_core_check(part: Any) -> None:
        """At least one of the core checks of its kind could be run."""
        reason = why_not()
        assert not reason, reason

    return PendingCheck(subject, Check(kind, runs_a_core_check), subject, exemption=exemption)


def failing(subject: str, kind: str, name: str, meaning: str, reason: str) -> PendingCheck:
    """Return a check so named that fails with a reason."""

    def broken(part: Any) -> None:
        raise AssertionError(reason)

    broken.__name__, broken.__doc__ = name, meaning
    return PendingCheck(subject, Check(kind, broken), subject)
