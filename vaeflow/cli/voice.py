"""What is said beside the results of a command: to a person, and not to a script.

Results are printed by `click.echo`. All else, such as the data that a training sees or the name of
a file that was written, is said by `say`: nowhere under --quiet, on standard error under --json,
where standard output holds the JSON alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import click

from vaeflow.errors import printable
from vaeflow.runtime.progress import hidden

QUIET, VERBOSE, DEBUG = ("-q", "--quiet"), ("-v", "--verbose"), ("--debug",)


@dataclass(frozen=True)
class Voice:
    """How much is said, and where.

    Attributes:
        quiet: results and errors alone.
        verbose: every step is told.
        debug: so, and with the traceback of an error.
        json: standard output is for JSON.
    """

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    json: bool = False

    @classmethod
    def of(cls, argv: Sequence[str]) -> Voice:
        """Read it off a command line, wherever the words stand before a "--"."""
        words = argv[: argv.index("--")] if "--" in argv else argv
        given = ({*names} & {*words} for names in (QUIET, VERBOSE, DEBUG, ("--json",)))
        return cls(*map(bool, given))

    @property
    def level(self) -> str:
        """Return the least level of vaeflow's log that is shown."""
        if self.debug or self.verbose:
            return "DEBUG"
        return "ERROR" if self.quiet else "INFO"


_PLAIN = Voice()
_VOICE = ContextVar("voice", default=_PLAIN)


def voice() -> Voice:
    """Return the voice of the command that runs."""
    return _VOICE.get()


@contextmanager
def speaking(how: Voice) -> Iterator[None]:
    """Speak so within the block, without bars where nobody is to see them."""
    token = _VOICE.set(how)
    try:
        with hidden(how.quiet or how.json):
            yield
    finally:
        _VOICE.reset(token)


def say(text: object = "", *, err: bool = False) -> None:
    """Say what is no result, on standard output if neither `err` nor --json is given."""
    how = voice()
    if not how.quiet:
        click.echo(printable(str(text)), err=err or how.json)
