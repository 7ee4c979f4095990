"""What a check is, and the register of the checks of each kind."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Part = Callable[..., Any]  # a part's class, or functools.partial of it with options
Law = Callable[[Any], None]

REGISTER: dict[str, list[Check]] = {}


class NotApplicable(Exception):
    """Raised by a check that has nothing to say about a part; its text is the reason."""


@dataclass(frozen=True)
class Check:
    """A law that every part of a kind keeps.

    Called with a part's class, or with functools.partial of it, it raises AssertionError where the
    law is broken and `NotApplicable` where it does not apply. Its verdict is the same in every run:
    it seeds torch's generators and leaves them, and the warnings, as it found them.
    """

    kind: str
    law: Law

    @property
    def name(self) -> str:
        """Return the name that exemptions and verdicts use."""
        return self.law.__name__

    __name__ = name  # for `ids=lambda law: law.__name__`

    @property
    def meaning(self) -> str:
        """Return what the law says, in one sentence."""
        return (inspect.getdoc(self.law) or "").partition("\n")[0]

    def __call__(self, part: Part | str) -> None:
        """Raise AssertionError if `part`, or the distribution so named, breaks the law."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        with (
            torch.random.fork_rng(devices),
            torch.enable_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # what a part warns of is no matter of these laws
            torch.manual_seed(0)
            self.law(part)


def law(*kinds: str) -> Callable[[Law], Law]:
    """Register a function as a check of the given kinds of part."""

    def add(function: Law) -> Law:
        for kind in kinds:
            REGISTER.setdefault(kind, []).append(Check(kind, function))
        return function

    return add
