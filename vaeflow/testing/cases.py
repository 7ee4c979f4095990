"""The cases to judge: a check, a part and a set of options, and the verdict on them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args, get_origin

import torch

from vaeflow.config.options import options_model, validate
from vaeflow.config.text import show, type_name
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.parts.abstract import (
    Dataset,
    Decoder,
    Encoder,
    Likelihood,
    Objective,
    Posterior,
    Prior,
)
from vaeflow.testing.check import REGISTER, Check, NotApplicable, Part

Options = dict[str, Any]

# What the constructor of each kind is called with where only its options are in question.
_ARGUMENTS: dict[type, list[tuple[Any, ...]]] = {
    Dataset: [(None,)],
    Encoder: [((1, 28, 28),), ((5,),)],
    Posterior: [(5, 7)],
    Prior: [(3, (1, 4, 4))],
    Decoder: [(4, (1, 28, 28)), (4, (5,))],
    Likelihood: [((1, 4, 3),), ((5,),)],
    Objective: [()],
}


@dataclass(frozen=True)
class Verdict:
    """What became of one check of one part under one set of options.

    An exempt check was run and failed, as its exemption says. `reason` tells why a check is in any
    other state than "passed", in one line.
    """

    subject: str  # such as "posterior planar", or "package"
    options: Options  # those that differ from the defaults
    check: str
    meaning: str
    state: str  # "passed", "failed", "exempt" or "not applicable"
    reason: str = ""


def variants(part: type) -> list[Options]:
    """Return sets of options to check a part with: {}, then each other choice that it offers.

    Those are the values of each option that is one of a few or true or false, and 0 and 1 for a
    number of `steps`, one option at a time; then one set in which every number is another. What
    the part refuses by ConfigError is left out; a part with a required option has none.
    """
    fields = options_model(part).model_fields
    if any(about.is_required() for about in fields.values()):
        return []
    found: list[Options] = [{}]
    for name, about in fields.items():
        counted = name == "steps" and type_name(about.annotation).startswith("integer")
        for value in (0, 1) if counted else _choices(about.annotation):
            if value != about.default and _takes(part, {name: value}):
                found.append({name: value})
    moved = {name: _moved(about.default) for name, about in fields.items()}
    moved = {name: v for name, v in moved.items() if v is not None and _takes(part, {name: v})}
    return [*found, moved] if moved and _takes(part, moved) else found


def _moved(default: Any) -> int | float | None:
    """Return another number than the default: what 1 hides, such as a sum over one, 2 shows."""
    if type(default) is int:
        return default + 1
    return 0.75 * default or 0.5 if type(default) is float else None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of every Literal and bool in a type."""
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(value for arm in get_args(annotation) for value in _choices(arm))


def _takes(part: type, options: Options) -> bool:
    """Tell whether the part can be built so; what fails in another way is for the checks to say."""
    try:
        made = partial(part, **validate(part, options, part.__name__))
    except ConfigError:
        return False
    for arguments in next(sizes for base, sizes in _ARGUMENTS.items() if issubclass(part, base)):
        try:
            with torch.random.fork_rng(()):
                made(*arguments)
        except ConfigError:
            continue
        except (Exception, SystemExit):
            return True
        return True
    return False


@dataclass(frozen=True)
class Case:
    """A check of one part under one set of options, still to be run."""

    subject: str
    check: Check
    part: Any  # the class, or the name of a distribution
    options: Options = field(default_factory=dict)
    others: Sequence[Options] = ()  # the part's sets of options, these among them
    exemption: str | None = None

    def __str__(self) -> str:
        """Return a name such as "posterior-planar(steps=0)-covers_the_plane_once"."""
        told = ",".join(f"{name}={show(value)}" for name, value in self.options.items())
        where = f"({told})" if told else ""
        return f"{self.subject.replace(' ', '-')}{where}-{self.check.name}"

    def judge(self) -> tuple[Verdict, BaseException | None]:
        """Run the check; return the verdict and, where it failed, the error."""
        state, reason, error = self._run(self.options)
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
        return all(self._run(options)[0] != "failed" for options in self.others)

    def _run(self, options: Options) -> tuple[str, str, BaseException | None]:
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

    def _with(self, options: Options) -> Part | str:
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


def cases_of(subject: str, kind: str, part: Any, sets: Sequence[Options]) -> Iterator[Case]:
    """Yield a case for each check of a kind and each set of options, and for false exemptions."""
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
            yield Case(subject, check, part, options, sets, exemption)


def failing(subject: str, kind: str, name: str, meaning: str, reason: str) -> Case:
    """Return a case that fails with a reason, of a check so named."""

    def broken(part: Any) -> None:
        raise AssertionError(reason)

    broken.__name__, broken.__doc__ = name, meaning
    return Case(subject, Check(kind, broken), subject)
