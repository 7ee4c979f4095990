"""A check, and the register of the checks of each kind."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

MakePart = Callable[..., Any]  # the class of a part, or functools.partial of it with options
Function = Callable[[Any], None]

REGISTER: dict[str, list[Check]] = {}


class NotApplicable(Exception):
    """Raised by a check that has nothing to say about a part; its text is the reason."""


class Refused(NotApplicable):
    """Raised where a part refuses a size; the checks then try another."""


class Unavailable(NotApplicable):
    """Raised by a check that could say something, had it the files that a data set reads."""


@dataclass(frozen=True)
class Check:
    """A named property that every part of a kind is held to.

    Called with the class of a part, or with functools.partial of it, a check raises AssertionError
    where the part lacks the property and `NotApplicable` where the property does not apply. The
    verdict is the same in every run: the check seeds torch's generators, and leaves them and the
    warnings as it found them. A core check tests what the kind is about, such as a density: a part
    of which no core check could be run has not been checked. A check that runs once tries the
    part's defaults alone, as it varies options itself or takes long.
    """

    kind: str
    function: Function
    core: bool = False
    once: bool = False

    @property
    def name(self) -> str:
        """Return the name that exemptions and verdicts use."""
        return self.function.__name__

    __name__ = name  # for `ids=lambda check: check.__name__`

    @property
    def meaning(self) -> str:
        """Return the property in one sentence."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def __call__(self, part: MakePart | str) -> None:
        """Raise AssertionError if `part`, or the distribution so named, lacks the property."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        with (
            torch.random.fork_rng(devices),
            torch.enable_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # the warnings of a part are no matter of the checks
            torch.manual_seed(0)
            self.function(part)


def register(*kinds: str, core: bool = False, once: bool = False) -> Callable[[Function], Function]:
    """Register a function as a check of the given kinds of part; see `Check` for its marks."""

    def add(function: Function) -> Function:
        for kind in kinds:
            REGISTER.setdefault(kind, []).append(Check(kind, function, core, once))
        return function

    return add
