"""Checks that are still to be run, each of one part under one set of options, and verdicts."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vaeflow.config.options import options_model, validate
from vaeflow.config.text import show
from vaeflow.errors import did_you_mean
from vaeflow.testing.option_sets import Options
from vaeflow.testing.registered import REGISTER, Check, MakePart, NotApplicable


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


@dataclass(frozen=True)
class PendingCheck:
    """A check of one part under one set of options, still to be run."""

    subject: str
    check: Check
    part: Any  # the class, or the name of a distribution
    options: Options = field(default_factory=dict)
    others: Sequence[Options] = ()  # all sets of options of the part, `options` among them
    exemption: str | None = None

    def __str__(self) -> str:
        """Return a name such as "posterior-planar(steps=0)-covers_the_plane_once"."""
        told = ",".join(f"{name}={show(value)}" for name, value in self.options.items())
        where = f"({told})" if told else ""
        return f"{self.subject.replace(' ', '-')}{where}-{self.check.name}"

    def run(self) -> tuple[Verdict, BaseException | None]:
        """Run the check; return the verdict and, where it failed, the error."""
        state, reason, error = self._outcome(self.options)
        if self.exemption is not None and state == "failed":
            state, reason, error = "exempt", self.exemption, None
        elif self._stale(state):
            state = "failed"
            reason = f"exempt ({self.exemption!r}) but passes: remove the exemption"
        verdict = Verdict(
            self.subject, self.options, self.check.name, self.check.meaning, state, reason
        )
        return verdict, error

    def _stale(self, state: str) -> bool:
        """Tell whether the check is exempt, passes, and fails under none of the other options."""
        if self.exemption is None or state != "passed":
            return False
        return all(self._outcome(options)[0] != "failed" for options in self.others)

    def _outcome(self, options: Options) -> tuple[str, str, BaseException | None]:
        try:
            self.check(self._with(options))
        except KeyboardInterrupt:
            raise
        except NotApplicable as error:
            return "not applicable", _line(error), None
        except BaseException as error:  # a part may raise anything, even SystemExit
            return "failed", _line(error) + self._place(error), error
        return "passed", "", None

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
        required = [k for k, v in options_model(self.part).model_fields.items() if v.is_required()]
        if required and not options:
            raise NotApplicable(f"option {required[0]!r} is required; name option sets to try")
        return partial(self.part, **validate(self.part, options, self.check.kind))


def _line(error: BaseException) -> str:
    """Return an error in one line; an assertion and a reason speak for themselves."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError | NotApplicable) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def pending_checks(
    subject: str, kind: str, part: Any, sets: Sequence[Options]
) -> Iterator[PendingCheck]:
    """Yield each check of a kind for each set of options; a false exemption is a failing check."""
    exemptions: Mapping[str, str] = getattr(part, "exemptions", {})
    names = [check.name for check in REGISTER[kind]]
    for name in sorted(set(exemptions) - set(names)):
        yield failing(
            subject, kind, name, "An exemption names a check of the part's kind.",
            f"there is no check {name!r} to exempt from{did_you_mean(name, names)}: correct it",
        )  # fmt: skip
    for options in sets:
        for check in REGISTER[kind]:
            exemption = exemptions.get(check.name)
            yield PendingCheck(subject, check, part, options, sets, exemption)


def failing(subject: str, kind: str, name: str, meaning: str, reason: str) -> PendingCheck:
    """Return a check so named that fails with a reason."""

    def broken(part: Any) -> None:
        raise AssertionError(reason)

    broken.__name__, broken.__doc__ = name, meaning
    return PendingCheck(subject, Check(kind, broken), subject)
