"""The errors a user can meet: one sentence each, with value, expectation and cure."""

from __future__ import annotations

import difflib
import dis
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IN_SHELL = ContextVar("in_shell", default=False)


class VaeflowError(Exception):
    """Base of every error that vaeflow explains; the command line exits with `exit_code`.

    Messages are written with flags, which the shell shows; Python shows arguments in their place.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(spoken(self.written))

    @property
    def written(self) -> str:
        """Return the text as it is written, with flags: what a file keeps for any reader."""
        return super().__str__()


class ConfigError(VaeflowError):
    """A part, option, flag or configuration file that cannot be used."""

    exit_code = 2


class DataError(VaeflowError):
    """Data that is missing, corrupt, empty or outside the support of the likelihood."""

    exit_code = 3


class CheckpointError(VaeflowError):
    """A run directory or checkpoint that is corrupt or does not fit."""

    exit_code = 4


class NonFiniteError(VaeflowError):
    """Training produced NaN or infinity; the last finite checkpoint is kept."""

    exit_code = 5


class PluginError(VaeflowError):
    """A part, from vaeflow or from a plugin, that fails or breaks its contract."""

    exit_code = 6


class RunLockedError(VaeflowError):
    """Another process is writing to the same run directory."""

    exit_code = 7


class StorageError(VaeflowError):
    """The file system refused a write."""

    exit_code = 8


class RankError(VaeflowError):
    """Another rank of a parallel training failed: `rank`, if it is known, with that exit code."""

    exit_code = 9

    def __init__(self, message: str, exit_code: int = 9, rank: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.rank = rank


def printable(text: str) -> str:
    """Return a text without what a terminal obeys instead of showing, which it then spells.

    A name or a message may come from a file that anybody wrote.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


# Escape sequences begin with one of these; the last ones turn the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_utf8(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: a path may have other bytes."""
    return not re.search(r"[\ud800-\udfff]", text)


def one_line(error: BaseException) -> str:
    """Return "Type: message" on one line, at most a screen wide."""
    name = type(error).__name__
    try:
        text = printable(" ".join(f"{name}: {error}".split()))
    except Exception:  # the message itself fails
        return name
    return text if len(text) <= 300 else f"{text[:299]}…"


def is_interrupt(error: BaseException) -> bool:
    """Return whether an exception is a Ctrl-C, and no KeyboardInterrupt that some code raises.

    A signal interrupts a program between two of its instructions. Code that raises stands at a
    `raise`; vaeflow's own handlers of signals do so as well.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__", "").startswith("vaeflow.cli."):
        return True
    instruction = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return instruction != dis.opmap["RAISE_VARARGS"]


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return " (did you mean 'x'?)" for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=likeness)
    return f" (did you mean {close[0]!r}?)" if close else ""


@contextmanager
def in_shell() -> Iterator[None]:
    """Let messages speak of flags within the block, as a command line does."""
    token = _IN_SHELL.set(True)
    try:
        yield
    finally:
        _IN_SHELL.reset(token)


def spoken(text: str) -> str:
    """Return a message that is written with flags in the words of its reader.

    In the shell it stays as it is. In Python `--lr 0.1` is lr=0.1, and `--posterior.steps 8` is the
    posterior's option steps=8. Commands within backticks stay.
    """
    if _IN_SHELL.get():
        return text
    text = re.sub(r"(?<![\w-])-k(?= |,)", "--samples", text)
    parts = text.replace(_DEBUG, "the traceback says where").split("`")
    parts[::2] = [_FLAG.sub(_argument, part) for part in parts[::2]]
    return "`".join(parts)


class _Spoken(logging.Filter):
    """Lets the log speak to its reader as errors do."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = spoken(record.getMessage()), ()
        return True


logging.getLogger("vaeflow").addFilter(_Spoken())

_DEBUG = "--debug says where"
_FLAG = re.compile(
    r"(?<![\w-])--([a-z][a-z-]*)(?:\.([A-Za-z][\w-]*))?"  # --posterior.steps
    r"(?:[ =]('[^']*'|[^\s;)]*[^\s;:),.]))?"  # 8, or a path in quotes
)
# Words that follow a flag in a sentence and are no value of it.
WORDS_AFTER_FLAGS = frozenset(
    """alone and as at chooses for has help if in is it may must names need needs of or out says
    shows stay tell that the to was with""".split()  # noqa: SIM905
)


def _argument(match: re.Match[str]) -> str:
    name, option, value = match.groups()
    name = name.replace("-", "_")
    told = name if option is None else f"the {name}'s option {option.replace('-', '_')}"
    if value is None:
        return told
    if value in WORDS_AFTER_FLAGS or value[0] == "(":
        return f"{told} {value}"
    if option is None and name in _MAPPINGS and "=" in value:
        key, _, level = value.strip("'").partition("=")
        return f'{told}={{"{key}": {_literal(level)}}}'
    return f"{told}={_literal(value)}"


_MAPPINGS = ("condition",)  # in Python from names to values
_PLACEHOLDERS = ("DIR", "FILE", "K", "NAME", "PATH", "RUN", "VALUE")


def _literal(value: str) -> str:
    """Return a flag's value as Python writes it; a placeholder such as DIR stays."""
    if value.lower() in ("true", "false"):
        return value.capitalize()
    if value in _PLACEHOLDERS or re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?|[\"\[({].*", value):
        return value
    return '"{}"'.format(value.strip("'"))
