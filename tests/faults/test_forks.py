"""The children themselves: what they return, say, print and die of reaches the test."""

import os
import signal
import sys
import time

import pytest
from forks import RAISED, say
from small_vae import run


def test_a_child_trains_and_returns(fork, amount, counted):
    children = [fork(lambda: len(run().records)) for _ in range(amount(2, 10))]
    ends = [child.end() for child in children]
    assert [(ended.status, ended.value) for ended in ends] == [(0, 2)] * len(children)
    counted("forked children", len(children))


def test_a_child_says_things_and_is_killed(fork):
    def work():
        say(os.getpid())
        time.sleep(60)

    child = fork(work)
    assert child.hear() == child.pid
    assert child.kill().status == -signal.SIGKILL


def test_a_child_exits_and_prints(fork):
    def work():
        sys.stdout.write("σ\n")
        say(1)
        raise SystemExit(8)

    ended = fork(work).end()
    assert (ended.status, ended.value, ended.output, ended.heard) == (8, None, "σ\n", [1])


def test_a_child_that_raises_shows_where(fork):
    ended = fork(lambda: 1 / 0).end()
    assert ended.status == RAISED
    assert "ZeroDivisionError" in ended.output


def test_a_child_that_hangs_is_killed_and_told(fork):
    child = fork(time.sleep, 60)
    with pytest.raises(AssertionError, match="had not ended"):
        child.end(timeout=0.1)
    with pytest.raises(AssertionError, match="says nothing"):
        fork(time.sleep, 60).hear(timeout=0.1)
