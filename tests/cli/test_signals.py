"""Signals that stop a training: the answer to Ctrl-C at a terminal."""

from __future__ import annotations

import signal
import sys

import pytest

from vaeflow.cli.signals import interruptible


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_says_that_the_step_ends_first(terminal, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with interruptible() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
    assert ("Stopping after this step" in capfd.readouterr().err) == terminal
