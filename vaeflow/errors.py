"""The errors a user can meet: one sentence each, with value, expectation and cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VaeflowError(Exception):
    """Base of every error that vaeflow explains; `exit_code` is the command line's answer."""

    exit_code = 1


class ConfigError(VaeflowError):
    """A part, option, flag or configuration file that cannot be used."""

    exit_code = 2


class DataError(VaeflowError):
    """Data that is missing, corrupt, empty or outside what the likelihood can score."""

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
    """Another rank of a parallel training failed; `exit_code` is that rank's."""

    exit_code = 9

    def __init__(self, message: str, exit_code: int = 9) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def one_line(error: BaseException) -> str:
    """Return "Type: message" on one line that fits a screen."""
    name = type(error).__name__
    try:
        text = " ".join(f"{name}: {error}".split())
    except Exception:  # a message that cannot even be made
        return name
    return text if len(text) <= 300 else f"{text[:299]}…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
